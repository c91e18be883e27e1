#!/bin/sh
# Turns the annotated configuration, on standard input, into the manual page culvertd.toml(5), so that there is one text.
cat <<'HEAD'
.Dd January 1, 2026
.Dt CULVERTD.TOML 5
.Os Culvert
.Sh NAME
.Nm culvertd.toml
.Nd configuration of culvertd
.Sh DESCRIPTION
.Pa /etc/culvert/culvertd.toml
is read by
.Xr culvertd 8
at its start and at SIGHUP.
This is the file with every key, its default and its explanation.
.Bd -literal
HEAD
# In manual pages a backslash escapes, and a dot or a quote at the start of a line is a command.
sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\&&/"
cat <<'TAIL'
.Ed
.Sh SEE ALSO
.Xr culvertd 8
TAIL
