package build

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"testing"
)

// apk runs other scripts at an upgrade than at an installation. Without them an upgraded device keeps the old program.
func TestAnUpgradeOfAnAPKRunsScripts(t *testing.T) {
	t.Parallel()
	// Its parts are compressed tar archives, one after the other, and only the last one has an end.
	f, err := os.Open(packed(t, "apk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
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
