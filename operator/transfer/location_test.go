package transfer

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		arg  string
		want Location
		err  string
	}{
		{arg: "pi-1:/etc/hosts", want: Location{Host: "pi-1", Path: "/etc/hosts"}},
		{arg: "pi-1:", want: Location{Host: "pi-1"}},
		{arg: "ann@pi-1:a b", want: Location{User: "ann", Host: "pi-1", Path: "a b"}},
		{arg: "pi-1:a:b@c", want: Location{Host: "pi-1", Path: "a:b@c"}},
		{arg: "[rack:7]:x", want: Location{Host: "rack:7", Path: "x"}},
		{arg: "ann@[rack:7]:x", want: Location{User: "ann", Host: "rack:7", Path: "x"}},
		{arg: "pi-1:~/x", want: Location{Host: "pi-1", Path: "x"}},
		{arg: "pi-1:~", want: Location{Host: "pi-1"}},
		{arg: "pi-1:x~", want: Location{Host: "pi-1", Path: "x~"}},
		{arg: "./pi-1:x", want: Location{Path: "./pi-1:x"}},
		{arg: "/a:b", want: Location{Path: "/a:b"}},
		{arg: "file", want: Location{Path: "file"}},
		{arg: "a@b", want: Location{Path: "a@b"}},
		{arg: "dir/a@b:c", want: Location{Path: "dir/a@b:c"}},
		{arg: "[x]", want: Location{Path: "[x]"}},
		{arg: "", err: "is empty"},
		{arg: ":x", err: "names no thing"},
		{arg: "@pi-1:x", err: "no user"},
		{arg: "-oProxyCommand=x@pi-1:x", err: "no user"},
		{arg: "a b@pi-1:x", err: "no user"},
		{arg: "pi-1:~ann/x", err: "another user's home"},
		{arg: "pi-1:a\x00b", err: "NUL"},
	} {
		got, err := Parse(tt.arg)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %+v, %v; want the error %q", tt.arg, got, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%q: %+v, %v; want %+v", tt.arg, got, err, tt.want)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %q, which is %+v, %v", tt.arg, got.String(), again, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"pi-1:/x", "a@[b:c]:d", "./x:y", "~:~", "[]:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Parse(s)
		if err != nil {
			return
		}
		if !l.IsRemote() && l.Path != s {
			t.Errorf("%q became the local path %q", s, l.Path)
		}
		if l.IsRemote() && !strings.HasPrefix(l.Path, "~") {
			if again, err := Parse(l.String()); err != nil || again != l {
				t.Errorf("%q: %+v, and again %+v, %v", s, l, again, err)
			}
		}
	})
}

func TestPartialName(t *testing.T) {
	for name, want := range map[string]string{
		"a":     ".a.culvert-part",
		"d/e/f": "d/e/.f.culvert-part",
	} {
		if got := PartialName(name); got != want || !IsPartialName(got[strings.LastIndex(got, "/")+1:]) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	long := strings.Repeat("ü", 127)
	other := strings.Repeat("ü", 126) + "xy"
	if a, b := PartialName(long), PartialName(other); a == b || len(a) > 255 || !IsPartialName(a) {
		t.Errorf("long names: %q and %q", a, b)
	}
	if IsPartialName(".culvert-part") {
		t.Error("there must be a name")
	}
}
