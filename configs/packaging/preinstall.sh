#!/bin/sh
# Before the files are unpacked: their group must exist. deb and rpm run it at an upgrade, too; apk has another script
# then, which culvertd.yaml makes of this one.
set -e

if ! grep -q '^culvert:' /etc/group; then
  if command -v groupadd >/dev/null; then groupadd --system culvert; else addgroup -S culvert; fi
fi
if ! grep -q '^culvert:' /etc/passwd; then
  if command -v useradd >/dev/null; then
    useradd --system --gid culvert --home-dir /var/lib/culvert --no-create-home --shell /usr/sbin/nologin --comment Culvert culvert
  else
    adduser -S -D -H -G culvert -h /var/lib/culvert -s /sbin/nologin -g Culvert culvert
  fi
fi

# dpkg tells only this script whether it installs or upgrades: after a removal both look the same to the next one.
case $1 in
  install | 1) : >/run/culvertd.new ;;
esac
