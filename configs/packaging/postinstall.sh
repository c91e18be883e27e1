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

runs() {
  if [ -n "$systemd" ]; then
    systemctl --quiet is-active culvertd.service
  else
    command -v rc-service >/dev/null && rc-service --quiet culvertd status >/dev/null 2>&1
  fi
}

# OpenRC restarts a service in the caller's session. If that is a shell through the daemon, the end of its connection
# would end the package manager at its work, and the restart between stop and start. So it has a session of its own, and
# waits for the package manager.
restart_openrc() {
  detach=
  ! command -v setsid >/dev/null || detach=setsid
  # shellcheck disable=SC2016 # the other shell expands it
  $detach sh -c 'left=600
    while [ "$left" -gt 0 ] && kill -0 "$1"; do left=$((left - 1)); sleep 1; done
    exec rc-service --ifstarted --quiet culvertd restart' sh "$PPID" </dev/null >/dev/null 2>&1 &
}

# 1: the check finds something that the daemon works with, such as a wrong clock. 2: the configuration cannot be used.
# All else: this program does not run here.
status=0
/usr/bin/culvertd check --offline >/dev/null 2>&1 || status=$?

if [ "$status" -le 1 ]; then
  if command -v systemctl >/dev/null; then
    # An upgrade leaves a disabled daemon disabled.
    [ -z "$new" ] || systemctl enable culvertd.service >/dev/null 2>&1 || true
    if [ -n "$systemd" ] && [ -n "$new" ]; then
      systemctl start --no-block culvertd.service || true
    elif [ -n "$systemd" ]; then
      systemctl try-restart culvertd.service || true
    fi
  elif command -v rc-service >/dev/null && runs; then
    restart_openrc
  fi
elif runs; then
  # Never end a daemon that works for one that will not start: there may be no other way to the device.
  why='does not accept its configuration'
  [ "$status" -eq 2 ] || why="does not run here (exit code $status)"
  restart='systemctl restart culvertd'
  [ -n "$systemd" ] || restart='rc-service culvertd restart'
  echo "culvertd goes on running as it was before the upgrade: this version $why."
  echo "See what is wrong with \"sudo culvertd check\", then: sudo $restart"
elif [ "$status" -ne 2 ]; then
  echo "culvertd is installed and not started: this version does not run here (exit code $status)."
else
  start='systemctl enable --now culvertd'
  command -v systemctl >/dev/null || ! command -v rc-service >/dev/null || start='rc-update add culvertd && sudo rc-service culvertd start'
  cat <<TEXT
culvertd is installed and not started: it is not configured yet. Next:

  sudo culvertd init     # asks for the thing's name, the endpoint and the certificate

or edit /etc/culvert/culvertd.toml, see what is missing with "sudo culvertd check",
and start it with "sudo $start".
TEXT
fi
