package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/sandbox"
)

// guideTable reads the rows of a table of a guide: the cells of those below the line that holds its head.
func guideTable(t *testing.T, path, head string) [][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), head+"\n")
	if !found {
		t.Fatalf("%s has no table %q", path, head)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "| ") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[0] != "---" {
			rows = append(rows, cells)
		}
	}
	return rows
}

// coded are the words between backquotes.
func coded(cell string) (words []string) {
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			words = append(words, part)
		}
	}
	return words
}

// trail are the lines of a daemon that logs JSON, by message.
func (d *daemon) trail(t *testing.T) map[string][]map[string]any {
	t.Helper()
	lines := make(map[string][]map[string]any)
	for line := range strings.Lines(d.log()) {
		var l map[string]any
		if json.Unmarshal([]byte(line), &l) != nil || !strings.HasSuffix(line, "\n") {
			continue
		}
		message, _ := l["msg"].(string)
		lines[message] = append(lines[message], l)
	}
	return lines
}

// TestTheTrailIsAsTheGuideSays compares the four messages of the trail with docs/logging.md, field by field, and the
// reasons in them with what really happened.
func TestTheTrailIsAsTheGuideSays(t *testing.T) {
	t.Parallel()
	const guide = "../../docs/logging.md"
	echo := echoServer(t)
	once := server(t, func(c net.Conn) { _, _ = io.WriteString(c, "bye") })
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echo, "ONCE": once, "BRIEF": echo, "IDLE": echo}})
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(files.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	config := string(text) + "\n[log]\nformat = \"json\"\n"
	config = rewrite(t, config, "BRIEF = ", `BRIEF = { address = "`+echo+`", max_duration = "200ms" }`)
	config = rewrite(t, config, "IDLE = ", `IDLE = { address = "`+echo+`", idle_timeout = "200ms" }`)
	path := filepath.Join(filepath.Dir(files.ConfigFile), "trail.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, path)
	d.waitLog(t, "mqtt subscribed", 20*time.Second)
	tunnel := openTunnel(t, box, d, "ECHO", "ONCE", "BRIEF")
	d.waitLog(t, "tunnel connected", 10*time.Second)
	source := startSource(t, box, tunnel.SourceToken, proxy.V3)
	for _, service := range []string{"ECHO", "ONCE", "BRIEF"} {
		c := connectTo(t, source, service)
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if service != "ONCE" {
			if err := exchangeByte(c); err != nil {
				t.Fatal(err)
			}
		}
		if service == "ECHO" {
			_ = c.Close()
			continue
		}
		_, _ = io.Copy(io.Discard, c) // until the device ends it, or its half
		_ = c.Close()
	}
	ended := func(service string) map[string]any {
		for _, l := range d.trail(t)["connection closed"] {
			if l["service"] == service {
				return l
			}
		}
		return nil
	}
	eventually(t, 30*time.Second, "every connection's end is logged", func() bool {
		return ended("ECHO") != nil && ended("ONCE") != nil && ended("BRIEF") != nil
	})
	// Reset by the target of the last one: culvertd stops while it is open.
	last := connectTo(t, source, "ECHO")
	if err := exchangeByte(last); err != nil {
		t.Fatal(err)
	}
	d.stop(t)

	fields := make(map[string][]string) // by message
	for _, row := range guideTable(t, guide, "| field | of | means |") {
		for message, of := range map[string][]string{
			"tunnel connected": {"all four", "tunnels", "`tunnel connected`"}, "tunnel closed": {"all four", "tunnels", "closed", "`tunnel closed`"},
			"connection opened": {"all four", "connections"}, "connection closed": {"all four", "connections", "closed", "`connection closed`"},
		} {
			if slices.Contains(of, row[1]) {
				fields[message] = append(fields[message], coded(row[0])...)
			}
		}
	}
	reasons := map[string][]string{}
	for message, head := range map[string]string{"connection closed": "| of a connection | means |", "tunnel closed": "| of a tunnel | means |"} {
		for _, row := range guideTable(t, guide, head) {
			reasons[message] = append(reasons[message], coded(row[0])...)
		}
	}
	trail := d.trail(t)
	id := secret.New(tunnel.DestinationToken).ID()
	for message, want := range fields {
		if len(trail[message]) == 0 {
			t.Errorf("there is no line %q", message)
		}
		for _, line := range trail[message] {
			got := slices.Sorted(maps.Keys(line))
			for _, field := range want {
				if _, found := line[field]; !found && !slices.Contains([]string{"error", "resumed", "detached"}, field) { // which stand where there is something to say
					t.Errorf("%s has no %s: %v", message, field, line)
				}
			}
			for _, field := range got {
				if !slices.Contains(append(want, "time", "level", "msg"), field) {
					t.Errorf("%s has a field that the guide does not know: %s", message, field)
				}
			}
			if line["session"] != id || line["level"] != "INFO" || line["channel_id"] == "" {
				t.Errorf("%v", line)
			}
			if r, ok := line["reason"].(string); ok && !slices.Contains(reasons[message], r) {
				t.Errorf("%s has a reason that the guide does not know: %s", message, r)
			}
		}
	}
	for service, want := range map[string]string{"ECHO": "peer", "ONCE": "target", "BRIEF": "max_duration"} {
		line := ended(service)
		if line["reason"] != want {
			t.Errorf("%s ended by %v, want %s", service, line["reason"], want)
		}
		in, out := 1.0, 1.0
		if service == "ONCE" {
			in, out = 0, 3
		}
		if line["bytes_in"] != in || line["bytes_out"] != out {
			t.Errorf("%s: %v bytes in, %v out, want %v and %v", service, line["bytes_in"], line["bytes_out"], in, out)
		}
	}
	closed := trail["tunnel closed"]
	if len(closed) != 1 || closed[0]["reason"] != "stopped" || closed[0]["connections"] != 4.0 || closed[0]["bytes_in"] != 3.0 || closed[0]["bytes_out"] != 6.0 {
		t.Errorf("the tunnel's end: %v", closed)
	}
	all := trail["connection closed"]
	if len(all) != 4 || all[3]["reason"] != "stopped" {
		t.Errorf("the last connection's end: %v", all[len(all)-1])
	}
}

// rewrite replaces the line of a configuration that begins so.
func rewrite(t *testing.T, config, begins, line string) string {
	t.Helper()
	lines := strings.Split(config, "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, begins) })
	if i < 0 {
		t.Fatalf("no line of the configuration begins with %q:\n%s", begins, config)
	}
	lines[i] = line
	return strings.Join(lines, "\n")
}
