#!/bin/sh
# Passes each tunnel notification of a local broker to culvertd: culvertd-notify.sh THING [OPTIONS OF MOSQUITTO_SUB]
#
# A notification is one line of JSON and holds a token: it goes through a pipe, never into an argument or a log.
# The broker's user name and password are in $XDG_CONFIG_HOME/mosquitto_sub, not among the arguments.
set -u
thing=$1
shift
mosquitto_sub -t "\$aws/things/$thing/tunnels/notify" -q 1 -i "$thing-tunnel-notify" -c "$@" | while IFS= read -r payload; do
  printf '%s\n' "$payload" | "${CULVERTD:-culvertd}" notify || echo 'culvertd has not taken a notification' >&2
done
exit 1 # the service manager restarts it
