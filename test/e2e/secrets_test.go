package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/trust"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/test/harness"
)

// shownPart is how many characters of a secret in a row must not be found anywhere.
const shownPart = 12

// hunt looks for secrets, whole, in parts, and in base64.
type hunt struct {
	t     *testing.T
	parts map[string]string // each run of shownPart characters, and whose it is
}

func newHunt(t *testing.T) *hunt { return &hunt{t, make(map[string]string)} }

// hide adds a secret. What is shorter than shownPart counts as a whole only.
func (h *hunt) hide(name, secret string) {
	h.t.Helper()
	if len(secret) < 8 {
		h.t.Fatalf("%s is no secret: %q", name, secret)
	}
	for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte(secret))} {
		n := min(shownPart, len(form))
		for i := range len(form) - n + 1 {
			h.parts[form[i:i+n]] = name
		}
	}
}

// search fails the test when a text has a part of a secret. It does not repeat it.
func (h *hunt) search(where, text string) {
	h.t.Helper()
	if text == "" {
		h.t.Errorf("%s is empty: there was nothing to search", where)
	}
	for n := range shownPart - 7 {
		size := 8 + n
		for i := range max(0, len(text)-size+1) {
			if name, found := h.parts[text[i:i+size]]; found {
				h.t.Errorf("%s shows a part of %s, at byte %d behind %q", where, name, i, text[max(0, i-60):i])
				return
			}
		}
	}
}

// process searches what every user of a machine may see of a process, and what its own user may see of its
// environment, but for the variables through which it was told a secret.
func (h *hunt) process(name string, pid int, told ...string) {
	h.t.Helper()
	for _, file := range []string{"cmdline", "environ"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			h.t.Errorf("%s of %s: %v", file, name, err)
			continue
		}
		words := slices.DeleteFunc(strings.Split(string(data), "\x00"), func(word string) bool {
			variable, _, _ := strings.Cut(word, "=")
			return file == "environ" && slices.Contains(told, variable)
		})
		h.search(file+" of "+name, strings.Join(words, "\x00"))
	}
}

func (h *hunt) file(path string) string {
	h.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// TestNothingShowsASecret runs the programs at their most talkative, on good and on bad days, and looks for tokens, the
// device's key and passwords wherever another user could find them.
func TestNothingShowsASecret(t *testing.T) {
	h := newHunt(t)
	const password = "correct-horse-battery"
	h.hide("the web proxy's password", password)
	h.hide("the web proxy's user and password", "user:"+password)
	web := startWebProxy(t)
	viaWeb := "https_proxy=http://user:" + password + "@" + web.address
	const name = "aws.invalid" // which only the web proxy can reach
	box := startSandbox(t, sandbox.Config{Advertise: name, Names: []string{name}, Services: map[string]string{"ECHO": echoServer(t)}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(h.file(files.KeyFile), "\n") {
		if len(line) > 20 && !strings.HasPrefix(line, "-----") {
			h.hide(fmt.Sprintf("line %d of the device's key", i+1), line)
		}
	}
	dir := filepath.Dir(files.ConfigFile)
	config := h.file(files.ConfigFile) + "\n[log]\nlevel = \"debug\"\n"
	environs := filepath.Join(dir, "environs")
	if trust.Executable("/bin/sh") == nil {
		config += fmt.Sprintf("[hooks]\ncommand = [\"/bin/sh\", \"-c\", \"env >>$0\", %q]\n", environs)
	}
	figures := filepath.Join(shortDir(t), "figures")
	config += fmt.Sprintf("[metrics]\nlisten = %q\n", "unix:"+figures)
	path := filepath.Join(dir, "debug.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	// A good day: a tunnel, a rotation, connections.
	d := startDaemon(t, path, viaWeb)
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	tunnel := openTunnel(t, box, d, "ECHO")
	h.hide("the destination's token", tunnel.DestinationToken)
	h.hide("the source's token", tunnel.SourceToken)
	d.waitLog(t, "tunnel connected", 20*time.Second)
	h.hideClientTokens(files.StateDir)
	source := proxySource(t, box, tunnel.SourceToken, web.address)
	eventually(t, 20*time.Second, "the tunnel answers", func() bool { return answers(source, "ECHO", time.Second) })
	mark := d.mark()
	rotated := rotate(t, box, d, tunnel, "ECHO")
	h.hide("the rotated token", rotated)
	d.waitLogFrom(t, mark, "tunnel connected "+sessionOf(rotated), 20*time.Second)
	h.hideClientTokens(files.StateDir)

	// Bad days: a token that is refused, notifications that are none, a broken TLS.
	device := &device{box: box, daemon: d, config: path}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	notify := func(token string) string {
		out, err := d.run(t, `{"clientAccessToken":"`+token+`","clientMode":"destination","region":"eu-west-1"}`, "notify")
		return fmt.Sprint(out, err)
	}
	bogus := strings.Repeat("bogus-secret-", 20)
	h.hide("a refused token", bogus)
	mark = d.mark()
	h.search("culvertd notify", notify(bogus))
	d.waitLogFrom(t, mark, "tunnel ended", 20*time.Second)
	h.search("culvertd notify of a bad one", notify(bogus+` \u0000`))
	for _, request := range []string{
		`{"command":"` + bogus + `"}`, bogus, `{"command":"notify","payload":"` + bogus + `"}`, `{"command":"status","` + bogus + `":1}`,
		`{"command":"status"}`, `{"command":"notify","payload":"` + base64.StdEncoding.EncodeToString([]byte(`{"clientAccessToken":"`+bogus+`"`)) + `"}`,
	} {
		h.search("the control socket's answer", ask(ctx, t, device.socket(t), request))
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"check", "--offline"}} {
		out, err := d.run(t, "", args...)
		h.search("culvertd "+strings.Join(args, " "), fmt.Sprint(out, err))
	}
	scraped := ask(ctx, t, figures, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r")
	if !strings.Contains(scraped, " 200 ") {
		t.Errorf("the metrics are %.200s", scraped)
	}
	h.search("the metrics", scraped)
	h.process("culvertd", d.Cmd.Process.Pid, "https_proxy")
	h.modes(files.StateDir, device.socket(t))

	broken := filepath.Join(dir, "broken.toml")
	text := strings.Replace(config, "state_dir = ", "#state_dir = ", 1)
	text = strings.Replace(text, figures, figures+"-other", 1)
	text = strings.Replace(text, "\n[services]", "state_dir = \"other-state\"\n\n[services]", 1)
	text = strings.Replace(text, "socket = \"", "socket = \"other-", 1)
	text = strings.Replace(text, "thing_name = \"pi-1\"", "thing_name = \"pi-1\" # again", 1)
	at := strings.Index(text, "[tunnel]")
	text = text[:at] + strings.Replace(text[at:], "ca_file   = ", "ca_file   = \""+anotherRoot(t)+"\" #", 1)
	text = strings.Replace(text, "\n[tunnel]", "client_id = \"other\"\n\n[tunnel]", 1)
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	other := startDaemon(t, broken, viaWeb)
	other.waitLog(t, "culvertd started", 20*time.Second)
	eventually(t, 20*time.Second, "the other daemon answers", func() bool { _, err := other.run(t, "", "status"); return err == nil })
	if out, err := other.run(t, `{"clientAccessToken":"`+rotated+`","clientMode":"destination","region":"eu-west-1"}`, "notify"); err != nil {
		t.Fatal(out, err)
	}
	h.search("the log of a tunnel with broken TLS", other.waitLog(t, "tunnel not connected", 20*time.Second))
	other.stop(t)
	h.search("the log of the other daemon", other.log())

	// The operator's side: the drop-in proxy, and the command that speaks to the API.
	second := tunnelFor(t, box, "ECHO")
	h.hide("the second tunnel's source token", second.SourceToken)
	h.hide("the second tunnel's destination token", second.DestinationToken)
	o := newOperatorSite(t, box)
	const secretKey = "a-secret-access-key-of-some-length"
	h.hide("the AWS secret access key", secretKey)
	for i, v := range o.env {
		switch {
		case strings.HasPrefix(v, "AWS_SECRET_ACCESS_KEY="):
			o.env[i] = "AWS_SECRET_ACCESS_KEY=" + secretKey
		case v == "NO_PROXY=*":
			o.env[i] = viaWeb
		case strings.HasPrefix(v, "AWS_ENDPOINT_URL="):
			o.env[i] = strings.Replace(v, name, "127.0.0.1", 1) // it speaks plain HTTP, which web proxies are not asked for here
		}
	}
	for _, run := range []struct {
		name  string
		token string
		args  []string
		want  string
		stays bool
	}{
		{"culvert proxy", second.SourceToken, []string{"proxy", "-e", box.RelayURL, "-s", "ECHO=0", "-c", box.CAFile(), "-v", "6"}, "Listening", true},
		{"culvert proxy with a refused token", bogus, []string{"proxy", "-e", box.RelayURL, "-s", "ECHO=0", "-c", box.CAFile(), "-v", "6"}, "rejected the token", false},
		{"culvert connect", "", []string{"connect", "pi-1", "ECHO=0", "--debug"}, `AccessToken\":\"(token `, true},
	} {
		cmd := o.culvert(t, run.args...)
		var out harness.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if run.token != "" {
			cmd.Env = append(append([]string{}, o.env...), "AWSIOT_TUNNEL_ACCESS_TOKEN="+run.token)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		said := func() bool { return strings.Contains(out.String(), run.want) }
		poll(30*time.Second, func() bool {
			select {
			case <-ended:
				return true
			default:
				return said()
			}
		})
		if !said() {
			t.Errorf("%s did not say %q:\n%s", run.name, run.want, out.String())
		}
		if run.stays {
			h.process(run.name, cmd.Process.Pid, "AWSIOT_TUNNEL_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY", "https_proxy")
		}
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-ended
		h.search("the output of "+run.name, out.String())
	}
	d.stop(t)
	h.search("the log of culvertd", d.log())
	if _, err := os.Stat(environs); err == nil {
		h.search("the environment of hooks", h.file(environs))
	}
	h.tree(o.home)
}

// hideClientTokens learns the client tokens that the daemon has made, from where they belong.
func (h *hunt) hideClientTokens(stateDir string) {
	h.t.Helper()
	names, err := filepath.Glob(filepath.Join(stateDir, "tunnel-*.json"))
	if err != nil || len(names) == 0 {
		h.t.Fatalf("no state files in %s: %v", stateDir, err)
	}
	for _, name := range names {
		var pair struct {
			ClientToken string `json:"client_token"`
		}
		if err := json.Unmarshal([]byte(h.file(name)), &pair); err != nil {
			continue // it is being replaced
		}
		h.hide("a client token", pair.ClientToken)
	}
}

// modes checks that others get at neither state nor socket.
func (h *hunt) modes(stateDir, socket string) {
	h.t.Helper()
	entries, err := os.ReadDir(stateDir)
	if err != nil || len(entries) < 2 {
		h.t.Errorf("%d files in the state directory, %v", len(entries), err)
	}
	want := map[string]fs.FileMode{stateDir: 0o700, socket: 0o600, socket + ".lock": 0o600}
	for _, e := range entries {
		want[filepath.Join(stateDir, e.Name())] = 0o600
	}
	for path, mode := range want {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			h.t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode().Perm(), mode, err)
		}
	}
}

// tree searches all files of a directory.
func (h *hunt) tree(dir string) {
	h.t.Helper()
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if text := h.file(path); text != "" {
				h.search(path, text)
			}
		}
		return nil
	})
}

// ask sends a line to a unix socket and returns the answer.
func ask(ctx context.Context, t *testing.T, socket, line string) string {
	t.Helper()
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
