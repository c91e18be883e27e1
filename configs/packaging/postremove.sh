#!/bin/sh
# After the files went. Configuration, keys and tokens stay for a package that comes back: it starts with the same
# tunnels. deb deletes them, and the user, at "purge". rpm (0) and apk (a version) know no purge, so that they say what
# stays.
set -e

case $1 in
  upgrade | 1 | failed-upgrade | abort-install | abort-upgrade | disappear) exit 0 ;;
esac
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then systemctl daemon-reload || true; fi
rm -rf /run/culvert

if [ "$1" = purge ]; then
  rm -rf /var/lib/culvert /etc/culvert
  rm -f /etc/systemd/system/multi-user.target.wants/culvertd.service
  if grep -q '^culvert:' /etc/passwd; then userdel culvert >/dev/null 2>&1 || true; fi
  if grep -q '^culvert:' /etc/group; then groupdel culvert >/dev/null 2>&1 || true; fi
fi
case $1 in remove | purge) exit 0 ;; esac

# rpm gives a configuration that was changed another name, under which the next package would not find it.
if [ -e /etc/culvert/culvertd.toml.rpmsave ] && [ ! -e /etc/culvert/culvertd.toml ]; then
  mv /etc/culvert/culvertd.toml.rpmsave /etc/culvert/culvertd.toml
fi
kept=
[ ! -e /etc/culvert ] || kept=' /etc/culvert'
[ ! -e /var/lib/culvert ] || kept="$kept /var/lib/culvert"
[ ! -e /var/log/culvertd.log ] || kept="$kept /var/log/culvertd.log*"
[ -n "$kept" ] || exit 0
delete=userdel
command -v userdel >/dev/null || delete=deluser
cat <<TEXT
culvertd is removed. Its configuration, private key and the tokens of open tunnels stay, for when it is installed again.
To delete them:

  sudo rm -rf$kept && sudo $delete culvert
TEXT
