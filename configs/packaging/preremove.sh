#!/bin/sh
# Before the files go. deb calls it "remove" or "upgrade", rpm with 0 (remove) or 1 (upgrade), apk with a version
# and only when the package is removed. An upgrade keeps the daemon running: the new version restarts it.
set -e

case $1 in
  upgrade | 1 | failed-upgrade | deconfigure) exit 0 ;;
esac
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
  systemctl disable --now culvertd.service >/dev/null 2>&1 || true
elif command -v systemctl >/dev/null; then
  systemctl disable culvertd.service >/dev/null 2>&1 || true
elif command -v rc-service >/dev/null; then
  rc-service --ifstarted --quiet culvertd stop || true
  rc-update --quiet delete culvertd >/dev/null 2>&1 || true
fi
