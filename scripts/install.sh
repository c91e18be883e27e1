#!/bin/sh
# Installs Culvert: chooses the package for this system, fetches it with its list of checksums,
# compares, and installs. It installs nothing whose checksum is not the one in the list.
#
#   sh install.sh [--from DIRECTORY|URL] [--key KEY|--unsigned] [--dry-run] [culvertd|culvert]
#
# culvertd is the device's daemon (the default), culvert the operator's command. --from says where
# the packages and their SHA256SUMS are; the default is the latest release. --dry-run prints what
# would be installed.
#
# The script of a release has a public key, and takes only a list that is signed with it; --key
# gives another one ("ssh-ed25519 AAAA…", or a file), and --unsigned wants no signature. It needs
# ssh-keygen, which is where ssh is. Without a key, the place that list and packages come from is
# trusted. An https:// URL may redirect to https:// only.
set -eu

# "make release" fills this in.
key=
program=culvertd
release=https://github.com/culvert-iot/culvert/releases/latest/download
from=$release
dry_run=

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

# unfetched WHAT ends the script. Where the release cannot be had, packages can be built.
unfetched() {
  [ "$from" != "$release" ] || echo 'install.sh: without a release, build packages in a clone with "make packages", and name them: --from dist/packages' >&2
  fail "cannot fetch $1"
}
usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
}
have() { command -v "$1" >/dev/null 2>&1; }

while [ $# -gt 0 ]; do
  case $1 in
    --from)
      [ $# -gt 1 ] || fail '--from needs a directory or an URL'
      from=$2
      shift
      ;;
    --from=*) from=${1#--from=} ;;
    --key)
      [ $# -gt 1 ] || fail '--key needs a public key or its file'
      key=$2
      shift
      ;;
    --key=*) key=${1#--key=} ;;
    --unsigned) key= ;;
    --dry-run) dry_run=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    culvertd | culvert) program=$1 ;;
    *) fail "$1 is not known here: sh install.sh --help" ;;
  esac
  shift
done

# What the package manager takes decides, and not the kernel: a 64-bit kernel may run a 32-bit system.
# pattern is the end of the package's name.
choose() {
  # Homebrew brings dpkg to macOS, so that the system is asked first.
  case $(uname -s 2>/dev/null || :) in
    Darwin) fail 'this script installs on Linux only; on macOS take culvert.rb of the release (brew install ./culvert.rb), or its culvert_..._darwin_arm64.tar.gz' ;;
    MINGW* | MSYS* | CYGWIN*) fail 'this script installs on Linux only; on Windows take culvert.json of the release (scoop install ./culvert.json), or its culvert_..._windows_amd64.zip' ;;
  esac
  if have dpkg; then
    kind=deb
    arch=$(dpkg --print-architecture)
    case $arch in
      amd64 | arm64 | armhf) pattern="_$arch.deb" ;;
      *) fail "there is no package for Debian's architecture $arch, only for amd64, arm64 and armhf" ;;
    esac
    return
  fi
  # OpenWrt has an apk, too, and other packages.
  if have apk && [ ! -e /etc/rc.common ]; then
    kind=apk
    arch=$(apk --print-arch)
    case $arch in
      x86_64 | aarch64 | armv7 | armhf) pattern=".$arch.apk" ;;
      *) fail "there is no package for Alpine's architecture $arch, only for x86_64, aarch64, armv7 and armhf" ;;
    esac
    return
  fi
  if have rpm; then
    kind=rpm
    arch=$(rpm --eval '%{_arch}')
    case $arch in
      x86_64 | aarch64) pattern=".$arch.rpm" ;;
      arm)
        arch=$(machine)
        pattern=.${arch}hl.rpm
        ;;
      *) fail "there is no package for the architecture $arch, only for x86_64, aarch64, armv7hl and armv6hl" ;;
    esac
    return
  fi
  kind=tar.gz
  arch=$(machine)
  pattern=_linux_$arch.tar.gz
}

# machine names the processor. A shell of 32 bits on a 64-bit kernel means a system of 32 bits.
machine() {
  bits=$(getconf LONG_BIT 2>/dev/null || echo 64)
  case $(uname -m) in
    x86_64 | amd64) echo amd64 ;;
    aarch64 | arm64 | armv8*) if [ "$bits" = 32 ]; then echo armv7; else echo arm64; fi ;;
    armv7*) echo armv7 ;;
    armv6*) echo armv6 ;;
    *) fail "there is no package for a $(uname -m), only for amd64, arm64, armv7 and armv6" ;;
  esac
}

# fetch NAME copies a file of the release into the working directory.
fetch() {
  case $from in
    https://*)
      if have curl; then
        curl -fsSL --proto '=https' --proto-redir '=https' --retry 3 -o "$work/$1" "$from/$1" || unfetched "$from/$1 over https"
      else
        # wget follows a redirect to http and ftp, but shows it: what came by it is not used.
        by_wget "$1" -S
        if grep -i '^ *location: *[a-z][a-z0-9+.-]*:' "$work/answer" | grep -vi '^ *location: *https:' >"$work/unsafe"; then
          fail "$from redirects from https to another protocol, $(sed 's/.*: *\([A-Za-z0-9+.-]*\):.*/\1/;q' "$work/unsafe"): nothing was installed"
        fi
      fi
      ;;
    http://*)
      if have curl; then
        curl -fsSL --proto '=https,http' --retry 3 -o "$work/$1" "$from/$1" || unfetched "$from/$1"
      else
        by_wget "$1"
      fi
      ;;
    *) cp "${from#file://}/$1" "$work/$1" || fail "there is no $1 in $from" ;;
  esac
}

# verify compares the signature of the list with the key, if there is one.
verify() {
  [ -n "$key" ] || return 0
  if [ -f "$key" ]; then key=$(cat "$key"); fi
  have ssh-keygen || fail 'ssh-keygen is needed to verify the signature of the list: it is in openssh-client (Debian), openssh-keygen (Alpine) or openssh (Fedora)'
  (fetch SHA256SUMS.sig) || fail 'a list without a signature is taken with --unsigned alone, such as that of your own packages: nothing was installed'
  printf 'release namespaces="culvert-release" %s\n' "$key" >"$work/signers"
  ssh-keygen -Y verify -f "$work/signers" -I release -n culvert-release -s "$work/SHA256SUMS.sig" \
    <"$work/SHA256SUMS" >"$work/answer" 2>&1 || {
    cat "$work/answer" >&2
    fail "the SHA256SUMS of $from is not signed with the key that is expected: nothing was installed"
  }
}

# by_wget NAME [OPTION] fetches a file and leaves what wget says in the file "answer".
by_wget() {
  have wget || fail 'curl or wget is needed: install one of them'
  wget -q ${2:+"$2"} -O "$work/$1" "$from/$1" 2>"$work/answer" || {
    # That of OpenWrt, uclient-fetch, does not know the option. Without it a redirect to http would go unseen.
    if [ -n "${2:-}" ] && grep -q '^Usage: ' "$work/answer"; then
      fail 'this wget does not show redirects, which must stay on https: install curl (opkg install curl, or apk add curl); nothing was installed'
    fi
    cat "$work/answer" >&2
    unfetched "$from/$1"
  }
}

# place FROM TO MODE installs a file of the tarball.
place() {
  mkdir -p "$(dirname "$2")"
  cp "$1" "$2.new"
  chmod "$3" "$2.new"
  mv -f "$2.new" "$2"
}

# add_user makes the user and the group that the daemon runs as, as the packages do.
add_user() {
  have useradd || have adduser || fail 'useradd or adduser is needed, for the user that the daemon runs as: nothing was installed'
  if ! grep -q '^culvert:' /etc/group; then
    if have groupadd; then groupadd --system culvert; else addgroup -S culvert; fi
  fi
  if ! grep -q '^culvert:' /etc/passwd; then
    if have useradd; then
      useradd --system --gid culvert --home-dir /var/lib/culvert --no-create-home --shell /usr/sbin/nologin --comment Culvert culvert
    else
      adduser -S -D -H -G culvert -h /var/lib/culvert -s /sbin/nologin -g Culvert culvert
    fi
  fi
}

# without_manager unpacks a tarball into /usr/local, for systems without a package manager that is known here.
without_manager() {
  (cd "$work" && tar -xzf "$name")
  dir=$work/${name%.tar.gz}
  if [ "$program" = culvertd ]; then with_service; else place "$dir/$program" "/usr/local/bin/$program" 0755; fi
}

# with_service installs the daemon, and what starts it under the service manager that "culvertd init" finds.
with_service() {
  for file in service openrc init; do
    sed 's,/usr/bin/culvertd,/usr/local/bin/culvertd,' "$dir/culvertd.$file" >"$dir/culvertd.$file.local"
  done
  group='' start='' # procd starts it as root
  if have systemctl || have rc-service; then
    group=culvert
    add_user
  fi
  # A program that cannot run here replaces none that can. It is tried where it will be: what is in /tmp may not be run.
  place "$dir/culvertd" /usr/local/bin/culvertd.tried 0755
  status=0
  /usr/local/bin/culvertd.tried version >/dev/null 2>&1 || status=$?
  if [ "$status" != 0 ]; then
    rm -f /usr/local/bin/culvertd.tried
    fail "this version does not run here (exit code $status): nothing was installed"
  fi
  if have systemctl; then
    start='systemctl restart culvertd'
    place "$dir/culvertd.service.local" /usr/local/lib/systemd/system/culvertd.service 0644
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
  elif have rc-service; then
    start='rc-service culvertd restart'
    place "$dir/culvertd.openrc.local" /etc/init.d/culvertd 0755
  elif [ -e /etc/rc.common ]; then
    start='/etc/init.d/culvertd restart'
    place "$dir/culvertd.init.local" /etc/init.d/culvertd 0755
  else
    for file in service openrc init; do place "$dir/culvertd.$file.local" "/usr/local/share/culvertd/culvertd.$file" 0644; done
  fi
  mv -f /usr/local/bin/culvertd.tried /usr/local/bin/culvertd

  next="/usr/local/bin/culvertd init     # asks for the thing's name, the endpoint and the certificate"
  restart=${start:-/usr/local/bin/culvertd} why='' sudo='sudo '
  have sudo || sudo= # as on OpenWrt, which has root alone
  if [ ! -e /etc/culvert ]; then
    mkdir -p /etc/culvert
    chmod 0750 /etc/culvert
    [ -z "$group" ] || chgrp "$group" /etc/culvert
  fi
  if [ ! -e /etc/culvert/culvertd.toml ]; then
    place "$dir/minimal.toml" /etc/culvert/culvertd.toml 0640
    [ -z "$group" ] || chgrp "$group" /etc/culvert/culvertd.toml
  elif [ "$(cat /etc/culvert/culvertd.toml)" != "$(cat "$dir/minimal.toml")" ]; then
    next="$restart     # to run this version"
    /usr/local/bin/culvertd check --offline >/dev/null 2>&1 || status=$?
    case $status in
      0 | 1) ;; # 1 is a finding that the daemon works with
      2) why='does not accept its configuration' ;;
      *) why="does not run here (exit code $status)" ;;
    esac
  fi
  echo 'culvertd is in /usr/local/bin, and its configuration in /etc/culvert.'
  if [ -z "$start" ]; then
    echo "No service manager that is known here was found, so nothing starts it yet. /usr/local/share/culvertd has a unit for
systemd and scripts for OpenRC and procd; the daemon itself is started with: /usr/local/bin/culvertd"
  fi
  if [ -n "$why" ]; then
    echo "A culvertd that runs goes on as it was before the upgrade, but would not start again: this version $why.
See what is wrong with \"$sudo/usr/local/bin/culvertd check\", then: $sudo$restart"
    return
  fi
  printf 'Next:\n\n  %s\n' "$sudo$next"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

choose
fetch SHA256SUMS
verify
# Two fields a line, as sha256sum prints them; a program's name is followed by its version.
name=$(awk -v program="$program" -v end="$pattern" '
  { file = $2; sub(/^\*/, "", file) }
  NF == 2 && file !~ /\// && index(file, program) == 1 && substr(file, length(program) + 1) ~ /^[-_][0-9]/ &&
    length(file) > length(end) && substr(file, length(file) - length(end) + 1) == end { print file; exit }' "$work/SHA256SUMS")
if [ -z "$name" ]; then
  build=
  [ "$kind" != deb ] || [ "$from" = "$release" ] || build=": \"make packages ARCH=$arch\" builds one"
  fail "the SHA256SUMS of $from names no package of $program that ends with $pattern$build"
fi
echo "$name from $from"
if [ -n "$dry_run" ]; then exit 0; fi
[ "$(id -u)" = 0 ] || fail 'only root can install packages: run it with sudo'

fetch "$name"
awk -v name="$name" '{ file = $2; sub(/^\*/, "", file) } file == name { print $1 "  " file; exit }' "$work/SHA256SUMS" >"$work/sum"
(cd "$work" && sha256sum -c sum >/dev/null 2>&1) || fail "$name does not have the checksum that SHA256SUMS says: it was cut short or changed; nothing was installed"

case $kind in
  deb)
    chmod 0755 "$work" # apt reads it as another user
    if have apt-get; then
      DEBIAN_FRONTEND=noninteractive apt-get install -y "$work/$name" # with ca-certificates, which it recommends
    else
      dpkg -i "$work/$name"
    fi
    ;;
  apk) apk add --allow-untrusted "$work/$name" ;; # its checksum was compared
  rpm)
    if have dnf; then
      dnf install -y "$work/$name"
    elif have zypper; then
      zypper --non-interactive install --allow-unsigned-rpm "$work/$name"
    else
      rpm -Uvh "$work/$name"
    fi
    ;;
  tar.gz) without_manager ;;
esac
