package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stands are the programs that scripts/packages calls, each of which leaves only the files that the next step needs.
var stands = map[string]string{
	"go": `#!/bin/sh
while [ "$1" != -o ]; do shift; done
cat >"$2" <<'PROGRAM'
#!/bin/sh
case $1 in
  man) : >"$2/culvert.1" ;;
  zip) : >"$5" ;;
esac
PROGRAM
chmod +x "$2"
`,
	"bom": `#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --notices | --sbom) : >"$2" ;; esac
  shift
done
`,
	"nfpm": `#!/bin/sh
while [ "$1" != --target ]; do shift; done
: >"$2"
`,
}

// An archive and its bill of materials differ only in how their names end, so that one is found by the other.
func TestAnArchiveAndItsBillOfMaterialsHaveOneName(t *testing.T) {
	t.Parallel()
	need(t, "bash", "git", "tar", "gzip")
	dir := t.TempDir()
	for name, text := range stands {
		path := filepath.Join(dir, "bin", name)
		write(t, path, text)
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"scripts", "configs", "LICENSE"} {
		run(t, nil, "cp", "-r", name, dir)
	}
	for _, platform := range []string{"linux-amd64", "linux-arm64", "linux-arm6", "linux-arm7", "darwin-arm64", "windows-amd64"} {
		for _, name := range []string{"culvert", "culvertd", "culvert.exe"} {
			write(t, filepath.Join(dir, "dist", platform, name), "")
		}
	}
	run(t, nil, "git", "-C", dir, "init", "-q")
	run(t, nil, "git", "-C", dir, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "all")
	env := []string{"VERSION=1.2.3", "PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")}
	run(t, env, filepath.Join(dir, "scripts/packages"), "amd64", "arm64", "armv7", "armv6", "darwin-arm64", "windows-amd64")

	files, err := os.ReadDir(filepath.Join(dir, "dist/packages"))
	if err != nil {
		t.Fatal(err)
	}
	bills, archives := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		for end, of := range map[string]map[string]bool{".cdx.json": bills, ".tar.gz": archives, ".zip": archives} {
			if name, found := strings.CutSuffix(file.Name(), end); found {
				of[name] = true
			}
		}
	}
	if len(archives) != 10 { // two programs for four kinds of Linux, one for macOS and Windows
		t.Errorf("%d archives, want 10: %v", len(archives), archives)
	}
	for name := range archives {
		if !bills[name] {
			t.Errorf("no bill of materials is called %s.cdx.json", name)
		}
		delete(bills, name)
	}
	if len(bills) > 0 {
		t.Errorf("bills of materials of no archive: %v", bills)
	}
}
