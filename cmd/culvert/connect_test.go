package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/openssh"
)

func TestParseLocals(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want []local
		err  string
	}{
		{"nothing is SSH on a free port", nil, []local{{"SSH", "127.0.0.1:0", false}}, ""},
		{"a service on a free port", []string{"HTTP"}, []local{{"HTTP", "127.0.0.1:0", false}}, ""},
		{"ports", []string{"SSH=2222", "HTTP=0"}, []local{{"SSH", "127.0.0.1:2222", true}, {"HTTP", "127.0.0.1:0", true}}, ""},
		{"an address", []string{"SSH=[::1]:22"}, []local{{"SSH", "[::1]:22", true}}, ""},
		{"a name with a colon", []string{"a:b=1"}, []local{{"a:b", "127.0.0.1:1", true}}, ""},
		{"a name that is none", []string{"S.H"}, nil, "service's name"},
		{"a service twice", []string{"SSH", "SSH=1"}, nil, "twice"},
		{"no number", []string{"SSH=x"}, nil, "0 to 65535"},
		{"nothing", []string{"SSH="}, nil, "0 to 65535"},
		{"too large", []string{"SSH=65536"}, nil, "0 to 65535"},
		{"a signed number", []string{"SSH=+1"}, nil, "0 to 65535"},
		{"too many colons", []string{"SSH=::1:22"}, nil, "too many colons"},
		{"a port alone", []string{"22"}, nil, `"22" is a port, not a service: write SERVICE=22, such as SSH=22`},
		{"a port for a port", []string{"22=2222"}, nil, `"22" is a port, not a service: write SERVICE=2222, such as SSH=2222` + "\nhint: for a service that is called 22 write 22=127.0.0.1:2222"},
		{"a service that is called 22", []string{"22=127.0.0.1:2222"}, []local{{"22", "127.0.0.1:2222", true}}, ""},
		{"a colon before the port", []string{"HTTP", "SSH:2222"}, nil, `"SSH:2222" would be the whole name of a service: for a local port write SSH=2222` + "\nhint: for a service that is called SSH:2222 write SSH:2222=0, or another port"},
		{"a colon before an address", []string{"SSH:localhost:2222"}, nil, `for a local port write SSH=localhost:2222`},
		{"a service that is called SSH:2222", []string{"SSH:2222=0"}, []local{{"SSH:2222", "127.0.0.1:0", true}}, ""},
		{"a colon and no port", []string{"a:b", "c:", "SSH:65536"}, []local{{"a:b", "127.0.0.1:0", false}, {"c:", "127.0.0.1:0", false}, {"SSH:65536", "127.0.0.1:0", false}}, ""},
		{"the list of culvert proxy", []string{"SSH=2222,HTTP=8080"}, nil, `each service is a word of its own: write SSH=2222 HTTP=8080`},
		{"a list of names", []string{"SSH,HTTP"}, nil, `each service is a word of its own: write SSH HTTP`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLocals(tt.args, "127.0.0.1", false)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error()+"\nhint: "+hint.Of(err), tt.err) {
				t.Fatalf("error %v, hint %q, want %q", err, hint.Of(err), tt.err)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(local{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// With --stdio there is no local port that could be meant.
func TestAServiceWithAColonIsItselfOnStandardInput(t *testing.T) {
	got, err := parseLocals([]string{"SSH:2222"}, "127.0.0.1", true)
	if err != nil || len(got) != 1 || got[0].service != "SSH:2222" || got[0].given {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseLocals([]string{"22"}, "127.0.0.1", true); err == nil || err.Error() != `"22" is a port, not a service: name a service, such as SSH` {
		t.Errorf("a port: %v", err)
	}
}

func TestTheAnyAddressOfIPv4IsNotIPv6s(t *testing.T) {
	for address, want := range map[string]string{"0.0.0.0:22": "tcp4", "127.0.0.1:0": "tcp4", "[::]:22": "tcp", "localhost:22": "tcp"} {
		if got := networkOf(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func TestSSHArguments(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := newSSHCommand()
	if err := cmd.Flags().Parse([]string{"--ca-bundle", "/it's 100%.pem", "--keep", "--ssh", "myssh", "--region", "eu-west-1"}); err != nil {
		t.Fatal(err)
	}
	connect, err := connectWords(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	got, err := openssh.Arguments(connect, openssh.Command{Options: []string{"-v"}, Destination: "admin@pi-1", Rest: []string{"uname", "-a"}}, "SSH", "HostKeyAlias=pi-1")
	want := []string{
		"-o", "HostKeyAlias=pi-1", "-o", "ProxyCommand=" + openssh.Quote(self) + ` connect --stdio '--ca-bundle=/it'\''s 100%%.pem' '--keep=true' '--region=eu-west-1' -- pi-1 SSH`,
		"-v", "-l", "admin", "pi-1", "uname", "-a",
	}
	// The flags come in the order in which they were given or of the alphabet; both are right.
	if err != nil || len(got) != len(want) || !slices.Equal(got[4:], want[4:]) {
		t.Fatalf("%q, %v", got, err)
	}
	if d := cmp.Diff(words(want[3]), words(got[3])); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for _, bad := range []string{"", "@", "a@", "-x", "a b", "u@-x", "-u@pi-1", "pi.1"} {
		if _, err := openssh.Arguments(connect, openssh.Command{Destination: bad}, "SSH"); err == nil {
			t.Errorf("%q is taken for a thing", bad)
		}
	}
}

func words(s string) []string {
	list := strings.Split(s, " --")
	slices.Sort(list)
	return list
}

func TestSSHConfigPrintsBlocks(t *testing.T) {
	for _, v := range []string{"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_IOTSECURETUNNELING", "AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID"} {
		t.Setenv(v, "")
	}
	t.Setenv("AWS_PROFILE", "fleet")
	t.Setenv("AWS_REGION", "us-east-1") // --region counts more
	t.Setenv("CULVERT_DATA_ENDPOINT", "wss://127.0.0.1:9")
	var out, errs bytes.Buffer
	if code := run([]string{"ssh-config", "--share", "--user", "admin", "--region", "eu-west-1", "pi-1", "x-*"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	share := "    Compression yes\n    ControlMaster auto\n    ControlPath ~/.ssh/culvert-%C\n    ControlPersist 60\n"
	want := "Host pi-1\n    HostKeyAlias pi-1\n    User admin\n    ProxyCommand " + openssh.Quote(self) + " connect --stdio '--region=eu-west-1' '--profile=fleet' '--data-endpoint=wss://127.0.0.1:9' -- pi-1 SSH\n" + share +
		"\nHost x-*\n    User admin\n    ProxyCommand " + openssh.Quote(self) + " connect --stdio '--region=eu-west-1' '--profile=fleet' '--data-endpoint=wss://127.0.0.1:9' -- %n SSH\n" + share
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// A block is used wherever ssh is run.
func TestSSHConfigTakesNoPathFromHere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"ssh-config", "--ca-bundle", "ca.pem", "pi-1"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if want := "'--ca-bundle=" + filepath.Join(here, "ca.pem") + "'"; !strings.Contains(out.String(), want) {
		t.Errorf("no %s in\n%s", want, &out)
	}
}

// A name in PATH that leads to the program outlives an update of what it leads to.
func TestOwnPathIsTheNameInPATH(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	link := filepath.Join(dir, filepath.Base(os.Args[0]))
	if err := os.Symlink(self, link); err != nil {
		t.Skip(err)
	}
	t.Setenv("PATH", dir)
	if got, err := ownPath(); err != nil || got != link {
		t.Errorf("%q, %v, want %q", got, err, link)
	}
	if err := errors.Join(os.Remove(link), os.WriteFile(link, []byte("another program"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if got, err := ownPath(); err != nil || got != self {
		t.Errorf("with another program of that name: %q, %v, want %q", got, err, self)
	}
}

func TestUsageOfReaching(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no thing", []string{"connect"}, 2, "which thing?\nhint: culvert connect --help"},
		{"the service first", []string{"connect", "SSH=2222", "pi-1", "--region", "eu-west-1"}, 2, "hint: the thing comes before its services, as in: culvert connect my-pi SSH=2222"},
		{"a port for standard output", []string{"connect", "--stdio", "pi-1", "SSH=22"}, 2, "without a port"},
		{"a lifetime of seconds", []string{"connect", "--region", "r", "--lifetime", "90s", "pi-1"}, 2, "whole minutes"},
		{"a type that is none", []string{"connect", "--region", "r", "--destination-client-type", "V9", "pi-1"}, 2, "V9"},
		{"no time at all", []string{"connect", "--region", "r", "--wait", "0s", "pi-1"}, 2, "--wait 0s"},
		{"a data endpoint that is none", []string{"connect", "--no-sign-request", "--region", "r", "--data-endpoint", "https://x", "pi-1"}, 2, "write wss://host"},
		{"a flag that is none", []string{"ssh", "--keeep", "pi-1"}, 2, "--keeep"},
		{"no thing for ssh", []string{"ssh", "--", "-v"}, 2, "which thing?"},
		{"only options of ssh", []string{"ssh", "-v", "-l", "pi"}, 2, "which thing?"},
		{"a port for a service", []string{"connect", "pi-1", "8080"}, 2, "write SERVICE=8080, such as SSH=8080"},
		{"ports as of ssh -L", []string{"connect", "pi-1", "8080:80"}, 2, "write SERVICE=8080; the device's [services] says"},
		{"ports and a host as of ssh -L", []string{"connect", "pi-1", "8080:localhost:80"}, 2, "write SERVICE=8080"},
		{"-L itself", []string{"connect", "pi-1", "-L", "8080:localhost:80"}, 2, "hint: a local port is SERVICE=PORT"},
		{"-p itself", []string{"connect", "pi-1", "-p", "2222"}, 2, "hint: a local port is SERVICE=PORT, as in culvert connect THING SSH=2222"},
		{"an address for a thing", []string{"connect", "--region", "r", "192.168.1.5:22"}, 2, "hint: give the thing's name in AWS IoT, not an address"},
		{"an address for ssh", []string{"ssh", "--region", "r", "--ssh", "true", "pi@192.168.1.5"}, 2, "hint: give the thing's name in AWS IoT, not an address"},
		{"an empty address", []string{"connect", "--bind", "", "pi-1"}, 2, "--bind is empty"},
		{"an address without a host", []string{"connect", "pi-1", "SSH=:22"}, 2, "names no address"},
		{"no ssh", []string{"ssh", "--ssh", "no-such-program", "pi-1"}, 1, "hint: install OpenSSH"},
		{"no region", []string{"connect", "pi-1"}, 1, "specify a region\nhint: give --region"},
		{"no such profile", []string{"connect", "--profile", "nobody", "pi-1"}, 1, "(nobody) could not be found\nhint: "},
		{"no such bundle", []string{"connect", "--ca-bundle", "/nowhere", "pi-1"}, 1, "/nowhere"},
		{"nothing at the endpoint", []string{"connect", "--no-sign-request", "--region", "r", "--endpoint-url", "http://127.0.0.1:1", "pi-1"}, 1, "hint: nothing listens there"},
		{"an endpoint without a scheme", []string{"connect", "--no-sign-request", "--region", "r", "--endpoint-url", "127.0.0.1:1", "pi-1"}, 1, "a URL such as https://host"},
		{"the same for a list", []string{"ls", "--no-sign-request", "--region", "r", "--endpoint-url", "127.0.0.1:1"}, 1, "a URL such as https://host"},
		{"a command that is missing", []string{"connect", "pi-1", "--"}, 2, "-- needs a command behind it"},
		{"a command that is not there", []string{"connect", "pi-1", "--", "no-such-program"}, 127, "no-such-program"},
		{"two services in one variable", []string{"connect", "pi-1", "a-b", "a_b", "--", "true"}, 2, "CULVERT_A_B_ADDRESS"},
		{"events and a command", []string{"connect", "--json", "pi-1", "--", "true"}, 2, "excludes --stdio and --json"},
		{"events and a connection", []string{"connect", "--json", "--stdio", "pi-1"}, 2, "excludes --json"},
		{"a block for no thing", []string{"ssh-config"}, 2, "which thing?"},
		{"a block for a strange name", []string{"ssh-config", "pi 1"}, 2, "name of a thing"},
	}
	t.Setenv("HOME", t.TempDir())
	for _, v := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "CULVERT_DATA_ENDPOINT"} {
		t.Setenv(v, "")
		_ = os.Unsetenv(v)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(tt.args, &out, &errs); code != tt.code || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tt.code, tt.want, &errs)
			}
			if out.Len() > 0 {
				t.Errorf("an error wrote to standard output: %q", &out)
			}
		})
	}
}

func TestProgressElsewhereThanOnATerminal(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, false)
	p.event(connect.Event{Kind: connect.Step, Text: "looking"})
	p.event(connect.Event{Kind: connect.Notice, Text: "found"})
	p.event(connect.Event{Kind: connect.Advice, Text: "try again"})
	p.settle()
	p.end()
	p.event(connect.Event{Kind: connect.Notice, Text: "too late"})
	if want := "culvert: looking\nculvert: found\nculvert:   try again\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestProgressOnATerminalTakesItsLineBack(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, false)
	p.live = true
	p.event(connect.Event{Kind: connect.Step, Text: strings.Repeat("long ", 40)})
	p.event(connect.Event{Kind: connect.Notice, Text: "by the way"})
	p.end()
	line := "\r" + ("culvert: " + strings.Repeat("long ", 40))[:lineWidth]
	blank := "\r" + strings.Repeat(" ", lineWidth) + "\r"
	if want := line + blank + "culvert: by the way\r\n" + line + blank; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestProgressBesideASession: ssh has put the terminal into raw mode, and its prompt is on the screen.
func TestProgressBesideASession(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, false)
	p.live = true
	p.event(connect.Event{Kind: connect.Detached, Text: "lost"})
	p.event(connect.Event{Kind: connect.Resumed, Text: "back"})
	p.end()
	line := "culvert: lost ..."
	if want := "\r\n\r" + line + "\r" + strings.Repeat(" ", len(line)) + "\rculvert: back\r\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestHelpFits80Columns(t *testing.T) {
	for _, name := range []string{"connect", "ssh", "ssh-config"} {
		var out, errs bytes.Buffer
		if code := run([]string{name, "--help"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "\nFlags:\n") {
			t.Fatalf("%s: exit code %d, %s", name, code, &errs)
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 80 { // with its end
				t.Errorf("%s: %d columns: %s", name, len(line)-1, line)
			}
		}
		if strings.Contains(out.String(), "1m0s") {
			t.Errorf("%s: a default has zeros", name)
		}
	}
}
