package check

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/internal/hint"
)

// logLimit bounds how much of a log's end goes into a bundle, in bytes.
const logLimit = 512 << 10

// Bundle is what WriteBundle packs.
type Bundle struct {
	Config *config.Config
	Report Report
	Log    io.Reader // recent lines of the daemon's log; nil for none

	Root string // see Options
}

const bundleReadme = `What culvertd check --bundle collected, for support.

check.txt, check.json  what the check found
config.toml            the configuration
status.json            the running daemon's status, if one answered
system.txt             the operating system: versions, memory, name servers
files.txt              modes, owners and sizes of culvertd's files; not their contents
certificates.txt       names and dates of the certificates
log.txt                the end of the log that --log named, if it did

No key, token or password was put in on purpose. What looks like one was replaced by a
word in brackets, and so were account numbers and the account's part of the endpoint's
name. Names of things, services and hosts, and addresses, are there: look through it
before you send it.
`

// WriteBundle writes a tar.gz for support. It never reads private keys and the state directory, takes
// only names and dates from certificates, and filters everything for secrets.
func WriteBundle(ctx context.Context, w io.Writer, b Bundle) error {
	now := time.Now()
	c := &checkup{Options: Options{Root: b.Root}.withDefaults(), cfg: b.Config}
	secrets := newFilter(b.Config)
	var text strings.Builder
	for _, r := range b.Report.Checks {
		if err := r.Write(&text); err != nil {
			return err
		}
	}
	fmt.Fprintf(&text, "\n%s\n", b.Report.Summary())
	report, err := json.MarshalIndent(b.Report, "", "  ")
	if err != nil {
		return err
	}
	members := []struct{ name, content string }{
		{"README.txt", bundleReadme},
		{"check.txt", text.String()},
		{"check.json", string(clean.JSON(report)) + "\n"},
		{"config.toml", readText(b.Config.Path, 1<<20)},
		{"status.json", c.statusText(ctx)},
		{"system.txt", c.systemText()},
		{"files.txt", c.filesText()},
		{"certificates.txt", c.certificatesText()},
	}
	if b.Log != nil {
		lines, err := tail(b.Log, logLimit)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		members = append(members, struct{ name, content string }{"log.txt", lines})
	}
	zipped := gzip.NewWriter(w)
	for i, m := range members {
		if i > 0 {
			m.content = secrets.text(m.content)
		}
		if err := writeMember(zipped, "culvertd-check/"+m.name, m.content, now); err != nil {
			return err
		}
	}
	if _, err := zipped.Write(make([]byte, 2*tarBlock)); err != nil { // the archive's end
		return err
	}
	return zipped.Close()
}

const tarBlock = 512

// writeMember writes a regular file of mode 0600 as ustar (POSIX.1-1988, pax(1)). Names have at most 99
// bytes. The standard library's writer would add 60 KB to the binary.
func writeMember(w io.Writer, name, content string, at time.Time) error {
	h := make([]byte, tarBlock)
	copy(h[0:100], name)
	copy(h[100:], "0000600\x00")
	copy(h[108:], "0000000\x00") // owner and group: root
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", len(content)))
	copy(h[136:], fmt.Sprintf("%011o\x00", max(at.Unix(), 0)))
	copy(h[148:], "        ") // the checksum counts as blanks in itself
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	padding := make([]byte, (tarBlock-len(content)%tarBlock)%tarBlock)
	for _, part := range [][]byte{h, []byte(content), padding} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// statusText returns the daemon's status, or why it does not answer.
func (c *checkup) statusText(ctx context.Context) string {
	if c.cfg.Control.Socket == "" {
		return "control.socket is off\n"
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var raw json.RawMessage
	if err := control.Call(ctx, c.cfg.Control.Socket, control.Request{Command: control.Status}, &raw); err != nil {
		return hint.Line(err) + "\n"
	}
	if pretty, err := json.MarshalIndent(raw, "", "  "); err == nil {
		raw = pretty
	}
	return string(clean.JSON(raw)) + "\n"
}

// filesText lists the files that a tunnel needs, without their contents.
func (c *checkup) filesText() string {
	var b strings.Builder
	m := c.cfg.MQTT
	for _, path := range []string{c.cfg.Path, m.CAFile, m.CertFile, m.KeyFile, m.TPMKey.Device, m.PasswordFile, m.TokenFile, c.cfg.Tunnel.CAFile, filepath.Dir(c.cfg.Control.Socket), c.cfg.Control.Socket, c.cfg.Tunnel.StateDir} {
		if path != "" && path != "." {
			b.WriteString(listing(path))
		}
	}
	entries, err := os.ReadDir(c.cfg.Tunnel.StateDir)
	if err != nil && c.cfg.Tunnel.StateDir != "" {
		fmt.Fprintf(&b, "%v\n", err)
	}
	for i, e := range entries {
		if i == 100 {
			fmt.Fprintf(&b, "… and %d more\n", len(entries)-i)
			break
		}
		b.WriteString(listing(filepath.Join(c.cfg.Tunnel.StateDir, e.Name())))
	}
	return b.String()
}

func listing(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return err.Error() + "\n"
	}
	who := ""
	if uid, gid, known := owner(info); known {
		who = fmt.Sprintf(" %5d:%-5d", uid, gid)
	}
	return fmt.Sprintf("%v%s %8d %s %s\n", info.Mode(), who, info.Size(), info.ModTime().UTC().Format(time.DateTime), path)
}

func (c *checkup) certificatesText() string {
	var b strings.Builder
	for _, path := range []string{c.cfg.MQTT.CertFile, c.cfg.MQTT.CAFile, c.cfg.Tunnel.CAFile} {
		if path == "" {
			continue
		}
		fmt.Fprintf(&b, "%s\n", path)
		for _, cert := range certificatesOf(path) {
			fmt.Fprintf(&b, "  %s, issued by %s, %s, %s, from %s to %s\n", name(cert.Subject.CommonName), name(cert.Issuer.CommonName),
				keyName(cert.PublicKey), cert.SignatureAlgorithm, cert.NotBefore.UTC().Format(time.DateTime), cert.NotAfter.UTC().Format(time.DateTime))
		}
	}
	return b.String()
}

// systemText describes the operating system.
func (c *checkup) systemText() string {
	var b strings.Builder
	host, _ := os.Hostname()
	fmt.Fprintf(&b, "culvertd %s\nhost %s, uid %d, %s\n", c.versionText(), host, c.EUID(), time.Now().Format(time.RFC3339))
	for _, path := range []string{
		"/proc/version", "/etc/os-release", "/proc/device-tree/model", "/proc/uptime", "/proc/loadavg", "/etc/resolv.conf", "/etc/nsswitch.conf",
		"/proc/net/route", "/proc/net/if_inet6", "/proc/sys/kernel/random/entropy_avail",
	} {
		fmt.Fprintf(&b, "\n== %s\n%s", path, readText(c.at(path), 8<<10))
	}
	b.WriteString("\n== /proc/meminfo\n")
	for line := range strings.Lines(readText(c.at("/proc/meminfo"), 8<<10)) {
		if strings.HasPrefix(line, "Mem") || strings.HasPrefix(line, "Swap") {
			b.WriteString(line)
		}
	}
	for _, dir := range []string{c.cfg.Tunnel.StateDir, filepath.Dir(c.cfg.Path)} {
		if free, _, known := space(dir); known {
			fmt.Fprintf(&b, "\n== %s\n%s free\n", dir, size(free))
		}
	}
	for _, names := range append(proxyVariables, [2]string{"SSL_CERT_FILE", "SSL_CERT_DIR"}) {
		for _, name := range names {
			if value, ok := os.LookupEnv(name); ok {
				fmt.Fprintf(&b, "%s=%s\n", name, value) // passwords in it are filtered
			}
		}
	}
	return b.String()
}

// readText returns the beginning of a file, or why it cannot be read.
func readText(path string, limit int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error() + "\n"
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return err.Error() + "\n"
	}
	text := strings.ToValidUTF8(strings.TrimRight(string(data), "\x00"), "�")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// tail returns the end of what it reads, from the beginning of a line.
func tail(r io.Reader, limit int) (string, error) {
	var kept []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := r.Read(chunk)
		kept = append(kept, chunk[:n]...)
		if len(kept) > 2*limit {
			kept = append(kept[:0], kept[len(kept)-limit:]...)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
	}
	text := strings.ToValidUTF8(string(kept), "�")
	if len(text) > limit {
		_, text, _ = strings.Cut(text[len(text)-limit:], "\n")
	}
	return text, nil
}
