package version

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhereTheNameOfABuildComesFrom(t *testing.T) {
	noted := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "false"}}
	for _, tt := range []struct {
		name, version, commit string
		build                 debug.BuildInfo
		wantVersion           string
		wantCommit            string
	}{
		{"nothing is known", "", "", debug.BuildInfo{}, "devel", "unknown"},
		{"the linker was told", "v1.2.3", "abc", debug.BuildInfo{Main: debug.Module{Version: "v9"}, Settings: noted}, "v1.2.3", "abc"},
		{"built from a work tree", "", "", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: noted}, "devel", "0123456789ab"},
		{"built from a changed work tree", "", "", debug.BuildInfo{Settings: append(noted[:1:1], debug.BuildSetting{Key: "vcs.modified", Value: "true"})}, "devel", "0123456789ab-dirty"},
		{"installed by go install", "", "", debug.BuildInfo{Main: debug.Module{Version: "v1.4.0"}}, "v1.4.0", "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := Info{tt.wantVersion, tt.wantCommit, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if diff := cmp.Diff(want, describe(tt.version, tt.commit, &tt.build)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestForms(t *testing.T) {
	info := Info{"v1.2.3", "abc", "go1.26.0", "linux/arm"}
	if got, want := info.String(), "v1.2.3 (commit abc, go1.26.0, linux/arm)"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	js, err := json.Marshal(info)
	if want := `{"version":"v1.2.3","commit":"abc","go":"go1.26.0","platform":"linux/arm"}`; err != nil || string(js) != want {
		t.Errorf("JSON = %s, %v, want %s", js, err, want)
	}
}

// The linker says nothing about a -X that names no variable.
func TestTheMakefileNamesTheVariables(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	const pkg = "github.com/culvert-iot/culvert/internal/version"
	for _, name := range []string{"version", "commit"} {
		if !strings.Contains(string(makefile), "-X "+pkg+"."+name+"=") && !strings.Contains(string(makefile), "-X $(VERSION_PACKAGE)."+name+"=") {
			t.Errorf("the Makefile does not set %s.%s", pkg, name)
		}
	}
}
