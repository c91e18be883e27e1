#!/bin/sh
# After the files are there: after an installation and after an upgrade.
#
# A daemon without its configuration is not started: there would be nothing that it could do.
set -e

new=
[ ! -e /run/culvertd.new ] || new=yes
rm -f /run/culvertd.new

# An image is built in a root where systemd does not run; what it must start is enabled all the same.
systemd=
[ ! -d /run/systemd/system ] || systemd=running
if command -v systemctl >/dev/null && [ -n "$systemd" ]; then systemctl daemon-reload || true; fi

if /usr/bin/culvertd check --offline >/dev/null 2>&1; then
  if command -v systemctl >/dev/null; then
    # An upgrade leaves a disabled daemon disabled.
    [ -z "$new" ] || systemctl enable culvertd.service >/dev/null 2>&1 || true
    if [ -n "$systemd" ] && [ -n "$new" ]; then
      systemctl start --no-block culvertd.service || true
    elif [ -n "$systemd" ]; then
      systemctl try-restart culvertd.service || true
    fi
  elif command -v rc-service >/dev/null; then
    rc-service --ifstarted --quiet culvertd restart || true
  fi
elif [ -n "$systemd" ] && systemctl --quiet is-active culvertd.service; then
  # Never end a daemon that works for one that will not start: there may be no other way to the device.
  echo 'culvertd goes on running as it was before the upgrade: this version does not accept its configuration.'
  echo 'See what is wrong with "sudo culvertd check", then: sudo systemctl restart culvertd'
else
  cat <<'TEXT'
culvertd is installed and not started: it is not configured yet. Next:

  sudo culvertd init     # asks for the thing's name, the endpoint and the certificate

or edit /etc/culvert/culvertd.toml, see what is missing with "sudo culvertd check",
and start it with "sudo systemctl enable --now culvertd".
TEXT
fi
