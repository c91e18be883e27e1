package build

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// apk runs other scripts at an upgrade than at an installation. Without them an upgraded device keeps the old program.
func TestAnUpgradeOfAnAPKRunsScripts(t *testing.T) {
	t.Parallel()
	nfpm, err := filepath.Abs("../../bin/nfpm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(nfpm); err != nil {
		t.Skip("there is no bin/nfpm: make bin/nfpm")
	}
	dir := t.TempDir()
	for _, name := range []string{"culvertd", "culvertd.8.gz", "culvertd.toml.5.gz", "NOTICES-culvertd.txt", "culvertd.cdx.json"} {
		write(t, filepath.Join(dir, name), "")
	}
	file := filepath.Join(dir, "culvertd.apk")
	run(t, []string{"BIN=" + dir, "SHARE=" + dir, "ARCH=amd64", "VERSION=1.2.3", "SOURCE_DATE_EPOCH=0"}, nfpm,
		"package", "--config", "configs/packaging/culvertd.yaml", "--packager", "apk", "--target", file)

	// Its parts are compressed tar archives, one after the other, and only the last one has an end.
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]string{}
	for all := tar.NewReader(plain); ; {
		header, err := all.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(all)
		if err != nil {
			t.Fatal(err)
		}
		members[header.Name] = string(data)
	}
	for member, path := range map[string]string{
		".pre-install": "preinstall.sh", ".pre-upgrade": "preinstall.sh",
		".post-install": "postinstall.sh", ".post-upgrade": "postinstall.sh",
		".pre-deinstall": "preremove.sh", ".post-deinstall": "postremove.sh",
	} {
		want, err := os.ReadFile("../../configs/packaging/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if members[member] != string(want) {
			t.Errorf("%s is %q, not %s", member, members[member], path)
		}
	}
}
