package footprint

import (
	"bufio"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestOnlyTheProgramsUntouchedPagesAreFound(t *testing.T) {
	const smaps = `00400000-0078a000 r-xp 00000000 fe:00 1234   /opt/my programs/culvertd
Rss:                3432 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
0078a000-00b3c000 r--p 0038a000 fe:00 1234   /opt/my programs/culvertd
Anonymous:             0 kB
00b3c000-00b4c000 r--p 0073c000 fe:00 1234   /opt/my programs/culvertd
Anonymous:            64 kB
00b4c000-00b8c000 rw-p 0074c000 fe:00 1234   /opt/my programs/culvertd
Anonymous:             0 kB
00b8c000-02bce000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f14edea0000-7f14ee200000 r-xp 00000000 fe:00 99   /lib/libc.so.6
Anonymous:             0 kB
7f14ee200000-7f14ee300000 r--p 00000000 fe:00 98   /opt/my programs/culvertd.old
Anonymous:             0 kB
7fff3add1000-7fff3adf2000 rw-p 00000000 00:00 0   [stack]
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0x78a000}, {0x78a000, 0xb3c000}}
	for _, c := range []struct{ name, smaps, file string }{
		{"as installed", smaps, "/opt/my programs/culvertd"},
		{"replaced since", strings.ReplaceAll(smaps, "culvertd\n", "culvertd (deleted)\n"), "/opt/my programs/culvertd (deleted)"},
	} {
		if got := fileMappings(bufio.NewScanner(strings.NewReader(c.smaps)), c.file); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: found %x, want %x", c.name, got, want)
		}
	}
}

// fileMemory is how much of the program's files is in this process's memory, in kB.
func fileMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Skip(err)
	}
	return n
}

func TestAProgramLivesWithoutItsTextInMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("an emulator's own pages count, too")
	}
	before := fileMemory(t)
	for range 10 {
		Trim()
		if got := strings.Repeat("ab", 2); got != "abab" {
			t.Errorf("afterwards it computes %q", got)
		}
	}
	if after := fileMemory(t); after > before*3/4 {
		t.Errorf("%d kB of the program's file are in memory, %d before", after, before)
	}
}
