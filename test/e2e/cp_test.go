package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
	"github.com/culvert-iot/culvert/test/harness"
)

// cpArguments are arguments for culvert cp, with ssh's for the server.
func (s *sshServer) cpArguments(args ...string) []string {
	return append(append([]string{"cp"}, s.sshFlags()...), args...)
}

// at returns a path on the thing.
func (s *sshServer) at(path string) string { return s.user + "@pi-1:" + path }

// cpEvents are the events of culvert cp --json: the outcomes of files, and the summary.
type cpEvents struct {
	files []struct {
		Source, Target, State, Check, SHA256, Error string
		Bytes, Sent                                 int64
		Resumed                                     int64 `json:"resumed_at"`
	}
	summary struct {
		Copied, Unchanged, Failed int
		Bytes, Sent               int64
		Check                     string
	}
	progress int
}

func readCpEvents(t *testing.T, out string) (e cpEvents) {
	t.Helper()
	for line := range strings.Lines(out) {
		var kind struct{ Event string }
		err := json.Unmarshal([]byte(line), &kind)
		if err == nil {
			switch kind.Event {
			case "file":
				e.files = append(e.files, struct {
					Source, Target, State, Check, SHA256, Error string
					Bytes, Sent                                 int64
					Resumed                                     int64 `json:"resumed_at"`
				}{})
				err = json.Unmarshal([]byte(line), &e.files[len(e.files)-1])
			case "summary":
				err = json.Unmarshal([]byte(line), &e.summary)
			case "progress":
				e.progress++
			default:
				err = errors.New("an unknown event")
			}
		}
		if err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	return e
}

func TestCp(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	dir := shortDir(t)
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	for _, d := range []string{filepath.Join(here, "tree", "sub dir"), there} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sums := map[string][]byte{}
	for name, size := range map[string]int64{"large": 3 << 20, "small": 10, "empty": 0, "sub dir/it's \"odd\"\n$x": 70_000} {
		sums[name] = writeRandom(t, filepath.Join(here, "tree", name), size)
	}
	old := time.Unix(1_000_000_000, 0)
	if err := errors.Join(os.Symlink("small", filepath.Join(here, "tree", "link")), os.Chmod(filepath.Join(here, "tree", "small"), 0o750),
		os.Chtimes(filepath.Join(here, "tree", "small"), old, old)); err != nil {
		t.Fatal(err)
	}

	t.Run("what cannot work costs no tunnel", func(t *testing.T) {
		for _, tt := range []struct {
			args []string
			code int
			want string
		}{
			{[]string{"a"}, 2, "the target is missing"},
			{[]string{"a", "b"}, 2, "neither a nor b is on a thing"},
			{[]string{"pi-1:a", "pi-2:b"}, 2, "are both on things"},
			{[]string{"pi 1:a", "."}, 2, "is no THING or USER@THING"},
			{[]string{"--check", "md5", "pi-1:a", "."}, 2, "--check"},
			{[]string{here + "/none", "pi-1:"}, 1, "no such file"},
			{[]string{here + "/tree", "pi-1:"}, 1, "-r copies directories"},
			{[]string{"pi-1:a", here + "/none/b"}, 1, "the directory of"},
			{[]string{"--ssh", "/none", "pi-1:a", "."}, 1, "install OpenSSH's client"},
		} {
			out, errs, code := runSSH(o.culvert(t, append([]string{"cp"}, tt.args...)...))
			if code != tt.code || out != "" || !strings.HasPrefix(errs, "error: ") || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") > 3 {
				t.Errorf("%q: exit code %d, want %d and %q\n%s%s", tt.args, code, tt.code, tt.want, out, errs)
			}
		}
		if n := o.opened(); n != 0 {
			t.Errorf("%d tunnels were opened", n)
		}
	})
	t.Run("a directory there and back", func(t *testing.T) {
		for _, step := range [][]string{{here + "/tree", ssh.at(there)}, {ssh.at(there + "/tree"), here + "/back"}} {
			out, errs, code := runSSH(o.culvert(t, ssh.cpArguments(append([]string{"-rp"}, step...)...)...))
			if code != 0 || out != "" || !strings.Contains(errs, "culvert: 5 files copied, 3.2 MB, in ") || !strings.Contains(errs, "SHA-256 is the same at both ends") {
				t.Fatalf("exit code %d\n%s%s", code, out, errs)
			}
		}
		for name, sum := range sums {
			if !bytes.Equal(sumOf(t, filepath.Join(here, "back", name)), sum) {
				t.Errorf("%q differs", name)
			}
		}
		info, err := os.Stat(filepath.Join(here, "back", "small"))
		if err != nil || info.Mode() != 0o750 || !info.ModTime().Equal(old) {
			t.Errorf("small: %v, %v", info, err)
		}
		if to, err := os.Readlink(filepath.Join(there, "tree", "link")); err != nil || to != "small" {
			t.Errorf("link: %q, %v", to, err)
		}
	})
	t.Run("again, quietly", func(t *testing.T) {
		out, errs, code := runSSH(o.culvert(t, ssh.cpArguments("-rpq", "--json", "--no-progress", here+"/tree", ssh.at(there))...))
		e := readCpEvents(t, out)
		if code != 0 || errs != "" || e.summary.Unchanged != 5 || e.summary.Copied != 0 || e.summary.Sent != 0 || e.progress != 0 {
			t.Errorf("exit code %d, %+v\n%s", code, e.summary, errs)
		}
	})
	t.Run("what is missing, and what is there", func(t *testing.T) {
		out, errs, code := runSSH(o.culvert(t, ssh.cpArguments("--json", ssh.at(there+"/tree/none"), ssh.at(there+"/tree/s*l"), ssh.at(there+"/tree/sub dir"), here)...))
		e := readCpEvents(t, out)
		if code != 1 || e.summary.Copied != 1 || e.summary.Failed != 2 || !strings.Contains(errs, "error: "+ssh.at(there+"/tree/none")+": ") || !strings.Contains(errs, "hint: -r copies directories") {
			t.Errorf("exit code %d, %+v\n%s", code, e.summary, errs)
		}
	})
	t.Run("what the user may not read", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root reads everything")
		}
		if err := os.Chmod(filepath.Join(there, "tree", "large"), 0); err != nil {
			t.Fatal(err)
		}
		_, errs, code := runSSH(o.culvert(t, ssh.cpArguments("-r", ssh.at(there+"/tree"), here+"/again")...))
		if code != 1 || !strings.Contains(errs, "large: open it: permission denied") || !strings.Contains(errs, "4 files copied") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("a thing that is away", func(t *testing.T) {
		if _, errs, code := runSSH(o.culvert(t, ssh.cpArguments("--wait", "1s", here+"/tree/small", "nobody:")...)); code != 4 || !strings.Contains(errs, "error: there is no thing nobody") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("a user who may not log in", func(t *testing.T) {
		_, errs, code := runSSH(o.culvert(t, ssh.cpArguments("-i", "/none", "-o", "IdentityFile=none", here+"/tree/small", "stranger@pi-1:")...))
		if code != 1 || !strings.Contains(errs, "ssh could not connect to stranger@pi-1") || !strings.Contains(errs, "culvert ssh stranger@pi-1") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	if left, _ := filepath.Glob(filepath.Join(o.home, "culvert-cp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if n := o.opened(); n != 1 {
		t.Errorf("%d tunnels were opened, want one for all", n)
	}
}

// TestCpGoesOn kills culvert cp in the middle, then the link, then its ssh.
func TestCpGoesOn(t *testing.T) {
	t.Parallel()
	o, ssh := startSharingSite(t)
	dir := shortDir(t)
	const size = 24 << 20
	sum := writeRandom(t, filepath.Join(dir, "image"), size)
	for _, target := range []string{"up", "down"} {
		if err := os.Mkdir(filepath.Join(dir, target), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// begin starts a copy and waits until some of it has arrived.
	begin := func(t *testing.T, to string, least int64, args ...string) (end func() (out, errs string, code int), kill func(syscall.Signal)) {
		t.Helper()
		cmd := o.culvert(t, ssh.cpArguments(append([]string{"--json"}, args...)...)...)
		var out, errs harness.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 60*time.Second, "some of it has arrived", func() bool {
			info, err := os.Stat(filepath.Join(dir, to, ".image.culvert-part"))
			return err == nil && info.Size() >= least
		})
		return func() (string, string, int) {
			_ = cmd.Wait()
			return out.String(), errs.String(), cmd.ProcessState.ExitCode()
		}, func(s syscall.Signal) { _ = cmd.Process.Signal(s) }
	}
	arrived := func(t *testing.T, to string, e cpEvents, code int, errs string) {
		t.Helper()
		if code != 0 || e.summary.Copied != 1 || e.summary.Check != "sha256" {
			t.Fatalf("exit code %d, %+v\n%s", code, e, errs)
		}
		if !bytes.Equal(sumOf(t, filepath.Join(dir, to, "image")), sum) {
			t.Error("the copy differs")
		}
		if left, _ := filepath.Glob(filepath.Join(dir, to, ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	for to, args := range map[string][]string{
		"up":   {filepath.Join(dir, "image"), ssh.at(filepath.Join(dir, "up"))},
		"down": {ssh.at(filepath.Join(dir, "image")), filepath.Join(dir, "down")},
	} {
		t.Run("after it was killed, "+to, func(t *testing.T) {
			for i, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
				end, kill := begin(t, to, int64(i+1)*5<<20, args...)
				kill(signal)
				if _, errs, code := end(); signal == syscall.SIGTERM && (code != 130 || !strings.Contains(errs, "hint: run the same command again to continue")) {
					t.Errorf("exit code %d\n%s", code, errs)
				}
				if _, err := os.Stat(filepath.Join(dir, to, "image")); !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("it has its name already, or: %v", err)
				}
			}
			out, errs, code := runSSH(o.culvert(t, ssh.cpArguments(append([]string{"--json"}, args...)...)...))
			e := readCpEvents(t, out)
			arrived(t, to, e, code, errs)
			if f := e.files[0]; f.Resumed < 9<<20 || f.Sent != size-f.Resumed || e.summary.Sent != f.Sent {
				t.Errorf("it continued at %d and sent %d of %d", f.Resumed, f.Sent, size)
			}
			_ = os.Remove(filepath.Join(dir, to, "image"))
		})
	}
	t.Run("through a cut link, and after its ssh was killed", func(t *testing.T) {
		end, _ := begin(t, "up", 4<<20, filepath.Join(dir, "image"), ssh.at(filepath.Join(dir, "up")))
		o.box.Relay.Faults().Cut(relay.Target{Side: tunnels.Source})
		eventually(t, 60*time.Second, "it goes on", func() bool {
			info, err := os.Stat(filepath.Join(dir, "up", ".image.culvert-part"))
			return err == nil && info.Size() >= 12<<20
		})
		if err := syscall.Kill(o.onlyHolder(t).PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		out, errs, code := end()
		e := readCpEvents(t, out)
		arrived(t, "up", e, code, errs)
		if f := e.files[0]; f.Resumed < 10<<20 || !strings.Contains(errs, "was lost; trying again") {
			t.Errorf("it continued at %d\n%s", f.Resumed, errs)
		}
		if e.summary.Sent > size+4<<20 {
			t.Errorf("%d bytes were sent for %d", e.summary.Sent, size)
		}
	})
}

// TestCpToAUserWithoutAShell: SFTP alone has no hashes.
func TestCpToAUserWithoutAShell(t *testing.T) {
	t.Parallel()
	o, ssh, _ := startSSHSite(t, "ForceCommand internal-sftp")
	dir := shortDir(t)
	sum := writeRandom(t, filepath.Join(dir, "a"), 100_000)
	for name, tt := range map[string]struct {
		flags []string
		code  int
		want  string
	}{
		"sizes are compared":  {nil, 0, "only sizes were compared"},
		"it is read back":     {[]string{"--check", "read"}, 0, "read back and compared"},
		"it must have hashes": {[]string{"--check", "sha256"}, 1, "pi-1 cannot hash"},
	} {
		t.Run(name, func(t *testing.T) {
			b := filepath.Join(dir, "b")
			_ = os.Remove(b)
			_, errs, code := runSSH(o.culvert(t, ssh.cpArguments(append(tt.flags, filepath.Join(dir, "a"), ssh.at(b))...)...))
			if code != tt.code || !strings.Contains(errs, tt.want) {
				t.Fatalf("exit code %d, want %d and %q\n%s", code, tt.code, tt.want, errs)
			}
			if code == 0 && !bytes.Equal(sumOf(t, b), sum) {
				t.Error("the copy differs")
			}
		})
	}
	o.allClosed(t)
}
