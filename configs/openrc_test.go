package configs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// What the supervisor appends to must be what logrotate cuts, or the log of a device fills its disk.
func TestTheLogUnderOpenRCIsTheOneThatIsRotated(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	group := func(expression, text string) string {
		t.Helper()
		found := regexp.MustCompile(`(?m)^\s*`+expression+`$`).FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Fatalf("%q is there %d times", expression, len(found))
		}
		return found[0][1]
	}
	service, rotation := read("packaging/culvertd.openrc"), read("packaging/culvertd.logrotate")
	log := group(`error_log="(.+)"`, service)
	if out := group(`output_log="(.+)"`, service); out != log {
		t.Errorf("the service writes to %s and %s, and one log is rotated", out, log)
	}
	if rotated := group(`(\S+) \{`, rotation); rotated != log {
		t.Errorf("%s is rotated, and the service writes to %s", rotated, log)
	}
	group(`(copytruncate)`, rotation) // the supervisor keeps the file open: one that was moved away would grow on
	if regexp.MustCompile(`(?m)^\s*su\s`).MatchString(rotation) {
		t.Error("logrotate gives up root, without which it makes no files in " + filepath.Dir(log))
	}
	shipped := regexp.MustCompile(`src: configs/packaging/culvertd\.(openrc|logrotate), dst: /etc/(init|logrotate)\.d/culvertd, (?:type: config, )?packager: apk`)
	if n := len(shipped.FindAllString(read("packaging/culvertd.yaml"), -1)); n != 2 {
		t.Errorf("the package has %d of the service and its rotation, want both", n)
	}
}
