package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// Set by the linker, see the Makefile:
//
//	-X github.com/culvert-iot/culvert/internal/version.version=v1.2.3
//	-X github.com/culvert-iot/culvert/internal/version.commit=0123abcd
//	-X github.com/culvert-iot/culvert/internal/version.date=1700000000
var (
	version string
	commit  string
	date    string // of the commit, in Unix seconds: a date of the build would make each build another
)

// Info names a build.
type Info struct {
	Version  string `json:"version"`  // of the release, as in v1.2.3; "devel" for a build from a work tree
	Commit   string `json:"commit"`   // of the source, shortened to 12 digits; "unknown" if the build did not record it
	Go       string `json:"go"`       // version of the Go toolchain
	Platform string `json:"platform"` // operating system and processor, as in linux/arm
}

// Get returns the build that is running: what the linker was told, or else what the Go toolchain
// noted by itself.
func Get() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return describe(version, commit, build)
}

// Built returns the date of the commit, which is before any time at which the program runs. It is zero
// where nothing noted it.
func Built() time.Time {
	if seconds, err := strconv.ParseInt(date, 10, 64); err == nil {
		return time.Unix(seconds, 0)
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range build.Settings {
			if setting.Key == "vcs.time" {
				at, _ := time.Parse(time.RFC3339, setting.Value)
				return at
			}
		}
	}
	return time.Time{}
}

func describe(version, commit string, build *debug.BuildInfo) Info {
	info := Info{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if v := build.Main.Version; info.Version == "" && v != "(devel)" {
		info.Version = v
	}
	noted := make(map[string]string)
	for _, setting := range build.Settings {
		noted[setting.Key] = setting.Value
	}
	if revision := noted["vcs.revision"]; info.Commit == "" && revision != "" {
		info.Commit = revision[:min(len(revision), 12)]
		if noted["vcs.modified"] == "true" {
			info.Commit += "-dirty"
		}
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	if info.Commit == "" {
		info.Commit = "unknown"
	}
	return info
}

// String is one line for people.
func (i Info) String() string {
	return fmt.Sprintf("%s (commit %s, %s, %s)", i.Version, i.Commit, i.Go, i.Platform)
}
