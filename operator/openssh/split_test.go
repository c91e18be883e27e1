package openssh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitLeavesToSSHWhatIsSSHs(t *testing.T) {
	takesValue := func(name string) bool { return name == "region" }
	tests := []struct {
		name, line string
		own        []string
		want       Command
	}{
		{"a thing", "pi", nil, Command{Destination: "pi"}},
		{"rsync", "-l admin pi rsync --server -e.LsfxC . /x", nil, Command{[]string{"-l", "admin"}, "pi", strings.Fields("rsync --server -e.LsfxC . /x")}},
		{"scp", "-x -oClearAllForwardings=yes -l u -s -- pi sftp", nil, Command{[]string{"-x", "-oClearAllForwardings=yes", "-l", "u", "-s"}, "pi", []string{"sftp"}}},
		{"git", "-o SendEnv=GIT_PROTOCOL u@pi git-upload-pack '/x'", nil, Command{[]string{"-o", "SendEnv=GIT_PROTOCOL"}, "u@pi", []string{"git-upload-pack", "'/x'"}}},
		{"options behind the thing", "pi -t -L 1:h:2 top -d 1", nil, Command{nil, "pi", strings.Fields("-t -L 1:h:2 top -d 1")}},
		{"behind --", "pi -- -N", nil, Command{nil, "pi", []string{"-N"}}},
		{"own flags on both sides", "--region r -v pi --keep -t --region=x", []string{"--region", "r", "--keep"}, Command{[]string{"-v"}, "pi", []string{"-t", "--region=x"}}},
		{"a cluster that ends with a value option", "-vvp 22 pi", nil, Command{[]string{"-vvp", "22"}, "pi", nil}},
		{"a joined value", "-p22 -vlroot pi", nil, Command{[]string{"-p22", "-vlroot"}, "pi", nil}},
		{"nothing", "-v", nil, Command{Options: []string{"-v"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			own, c := Split(strings.Fields(tt.line), takesValue)
			if len(c.Rest) == 0 {
				c.Rest = nil
			}
			if d := cmp.Diff(tt.own, own) + cmp.Diff(tt.want, c); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestHasLooksAtOptionsAndNotAtTheirValues(t *testing.T) {
	c := Command{Options: []string{"-vG", "-o", "-N", "-lQ"}}
	for letter, want := range map[string]bool{"v": true, "G": true, "l": true, "N": false, "Q": false, "o": true} {
		if c.Has(letter) != want {
			t.Errorf("Has(%s) = %v", letter, !want)
		}
	}
}

// The user's own settings count, wherever they are; what they leave open is the default given.
func TestSettingsAreTheUsersBeforeTheDefaults(t *testing.T) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip(err)
	}
	config := filepath.Join(t.TempDir(), "config with space")
	text := "Host pi-1\n  HostKeyAlias fleet\nHost pi-2\n  Compression no\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, line, alias, compression string }{
		{"nothing is set", "-F none pi-1", "default", "yes"},
		{"the Host block", "-F CONFIG pi-1", "fleet", "yes"},
		{"another block", "-F CONFIG pi-2", "default", "no"},
		{"the command line", "-F CONFIG -oHostKeyAlias=mine pi-1", "mine", "yes"},
		{"behind the thing", "-F CONFIG pi-1 -o HostKeyAlias=mine -o Compression=no true", "mine", "no"},
		{"the remote command's options are not ssh's", "-F none pi-1 cmd -o HostKeyAlias=mine", "default", "yes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.line)
			for i := range args {
				if args[i] == "CONFIG" {
					args[i] = config
				}
			}
			_, c := Split(args, func(string) bool { return false })
			got := Settings(t.Context(), ssh, c, "HostKeyAlias default", "Compression yes")
			if got["hostkeyalias"] != tt.alias || got["compression"] != tt.compression {
				t.Errorf("alias %q, compression %q; want %q, %q", got["hostkeyalias"], got["compression"], tt.alias, tt.compression)
			}
		})
	}
}
