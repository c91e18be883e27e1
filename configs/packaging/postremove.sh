#!/bin/sh
# After the files went. Tokens go with the program. deb keeps the configuration until "purge"; rpm (0) and apk
# know no purge and leave what the owner has changed. Purging takes the keys in /etc/culvert with it, and the user.
set -e

case $1 in
  upgrade | 1 | failed-upgrade | abort-install | abort-upgrade | disappear) exit 0 ;;
esac
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then systemctl daemon-reload || true; fi
rm -rf /run/culvert

if [ "$1" != remove ]; then
  rm -rf /var/lib/culvert
fi
if [ "$1" = purge ]; then
  rm -rf /etc/culvert
  rm -f /etc/systemd/system/multi-user.target.wants/culvertd.service
  if grep -q '^culvert:' /etc/passwd; then userdel culvert >/dev/null 2>&1 || true; fi
  if grep -q '^culvert:' /etc/group; then groupdel culvert >/dev/null 2>&1 || true; fi
fi
