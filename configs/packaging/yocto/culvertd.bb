# Example recipe for Yocto: a binary release as its tarball, since a static binary needs nothing of the image.
# Set SRC_URI to where your tarballs are and the sums to those of its SHA256SUMS.
SUMMARY = "Remote access through AWS IoT Secure Tunneling"
HOMEPAGE = "https://github.com/culvert-iot/culvert"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=@MD5@"

CULVERT_ARCH:aarch64 = "arm64"
CULVERT_ARCH:arm = "armv6"
CULVERT_ARCH:x86-64 = "amd64"

PV = "@VERSION@"
SRC_URI = "https://example.com/culvert/culvertd_${PV}_linux_${CULVERT_ARCH}.tar.gz \
           file://culvertd.toml"
SRC_URI[sha256sum] = "@SHA256@"
S = "${WORKDIR}/culvertd_${PV}_linux_${CULVERT_ARCH}"

inherit systemd useradd
SYSTEMD_SERVICE:${PN} = "culvertd.service"
USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --home-dir /var/lib/culvert --no-create-home --shell /sbin/nologin culvert"
RRECOMMENDS:${PN} = "ca-certificates"
INSANE_SKIP:${PN} = "already-stripped"

do_install() {
    install -D -m 0755 ${S}/culvertd ${D}${bindir}/culvertd
    install -D -m 0644 ${S}/culvertd.service ${D}${systemd_system_unitdir}/culvertd.service
    install -d -m 0750 -g culvert ${D}${sysconfdir}/culvert
    install -m 0640 -g culvert ${WORKDIR}/culvertd.toml ${D}${sysconfdir}/culvert/culvertd.toml
}
