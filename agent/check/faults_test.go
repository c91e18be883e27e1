package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const year = 365 * 24 * time.Hour

// fault is something wrong with a device, and the line that must tell it.
type fault struct {
	name   string
	make   func(b *bed)
	id     string
	status Status
	text   string // parts of the line, with … between
	remedy string // likewise
	policy string // the end of a resource that is to be allowed
}

// provoke makes each fault on a device of its own and looks for its line.
func provoke(t *testing.T, faults []fault) {
	t.Helper()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			f.make(b)
			r := b.examine()
			found := find(r, f.id)
			for _, c := range found {
				if c.Status == f.status && has(c.Text, f.text) && has(c.Remedy, f.remedy) && (f.policy == "") == (len(c.Policy) == 0) {
					if f.policy != "" && !strings.HasSuffix(c.Policy[0].Resource, f.policy) {
						t.Errorf("the policy is %+v", c.Policy)
					}
					if r.Well != (r.Failed == 0) || f.status == Failed && r.Well {
						t.Errorf("well = %v with %d failed", r.Well, r.Failed)
					}
					fits(t, r)
					return
				}
			}
			t.Errorf("no line of %s is %s and has %q with remedy %q:\n%s", f.id, f.status, f.text, f.remedy, text(r))
		})
	}
}

// has reports whether s has all parts, in their order.
func has(s, parts string) bool {
	if parts == "" {
		return true
	}
	for part := range strings.SplitSeq(parts, "…") {
		_, after, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s = after
	}
	return true
}

// fits checks the form of the text.
func fits(t *testing.T, r Report) {
	t.Helper()
	for line := range strings.Lines(text(r)) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > width && !strings.Contains(line, `"arn:`) {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
}

func TestADeviceThatIsWell(t *testing.T) {
	b := newBed(t)
	r := b.examine()
	fits(t, r)
	if !r.Well || r.Failed+r.Warnings > 0 {
		t.Errorf("got %d failed, %d warnings:\n%s", r.Failed, r.Warnings, text(r))
	}
	for _, id := range []string{
		"config", "files.certificate", "files.key", "files.broker_roots", "files.tunnel_roots", "state", "service", "proxy",
		"mqtt.tcp", "mqtt.tls", "mqtt.connect", "mqtt.subscribe", "mqtt.client_id", "mqtt.answer", "tunnel.region", "tunnel.tcp", "tunnel.tls", "tunnel.answer", "clock",
	} {
		if list := find(r, id); len(list) != 1 || list[0].Status != OK {
			t.Errorf("%s: %+v", id, list)
		}
	}
	if used := b.box.Relay.Violations(); len(used) > 0 {
		t.Errorf("the data endpoint saw %v", used)
	}
	at := -1
	for _, c := range r.Checks { // the order is that of the documents
		for i, id := range IDs() {
			if id == c.ID {
				if i < at {
					t.Errorf("%s comes too late", id)
				}
				at = i
			}
		}
	}
}

func TestOfflineTouchesNothing(t *testing.T) {
	b := newBed(t)
	b.edit(b.box.MQTT, "nothing.invalid:1")
	b.opts.Offline = true
	r := b.examine()
	if !r.Well || len(find(r, "mqtt.name"))+len(find(r, "service"))+len(find(r, "clock")) > 0 {
		t.Errorf("got\n%s", text(r))
	}
}

func TestFaultsOfFiles(t *testing.T) {
	now := time.Now()
	device := func(from, until time.Time) func(*bed) {
		return func(b *bed) {
			cert, key := newAuthority(b.T, now.Add(-2*year), now.Add(2*year)).leaf(from, until)
			b.write(b.files.CertFile, cert, 0o644)
			b.write(b.files.KeyFile, key, 0o600)
		}
	}
	provoke(t, []fault{
		{"no certificate", func(b *bed) { _ = os.Remove(b.files.CertFile) }, "files.certificate", Failed, "mqtt.cert_file…no such file", "put the file there", ""},
		{"and then nothing is dialled with it", func(b *bed) { _ = os.Remove(b.files.CertFile) }, "mqtt.tls", Skipped, "certificate files cannot be used", "", ""},
		{"no key", func(b *bed) { _ = os.Remove(b.files.KeyFile) }, "files.key", Failed, "mqtt.key_file…no such file", "put the file there", ""},
		{"another's key", func(b *bed) {
			_, key := newAuthority(b.T, now, now.Add(year)).leaf(now, now.Add(year))
			b.write(b.files.KeyFile, key, 0o600)
		}, "files.key", Failed, "do not fit together", "use the key that was made with this certificate", ""},
		{"a key with a pass phrase", func(b *bed) {
			b.write(b.files.KeyFile, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", 0o600)
		}, "files.key", Failed, "has a pass phrase", "openssl", ""},
		{"a key in a TPM that is not there", func(b *bed) { b.set("mqtt", "key_file", `"tpm:/nowhere/tpm:0x81000001"`) }, "files.key", Failed, "mqtt.key_file: the key 0x81000001 of the TPM /nowhere/tpm", "has no TPM 2.0", ""},
		{"a key in a TPM without the certificate", func(b *bed) {
			b.set("mqtt", "key_file", `"tpm:/nowhere/tpm:0x81000001"`)
			_ = os.Remove(b.files.CertFile)
		}, "files.key", Skipped, "cannot be used", "", ""},
		{"a user name beside the certificate", func(b *bed) { b.set("mqtt", "username", `"pi"`) }, "files.login", OK, "user name pi", "", ""},
		{"no MQTT needs no certificate", func(b *bed) { b.set("mqtt", "enabled", "false"); _ = os.Remove(b.files.CertFile) }, "mqtt.connect", Skipped, "culvertd notify", "", ""},
		{"no password", func(b *bed) { b.set("mqtt", "password_file", `"none"`) }, "files.login", Failed, "mqtt.password_file…no such file", "put the file there", ""},
		{"an authorizer's token that is none", func(b *bed) {
			b.set("mqtt", "authorizer", `"Auth"`)
			b.set("mqtt", "authorizer_token_file", `"token"`)
			b.write(filepath.Join(filepath.Dir(b.files.ConfigFile), "token"), "abc", 0o600)
		}, "files.login", Failed, "is not what follows the name of an authorizer", "x-amz-customauthorizer-signature", ""},
		{"a key that every user can read", func(b *bed) { b.write(b.files.KeyFile, b.read(b.files.KeyFile), 0o644) }, "config", Warning, "every user of this machine can read", "chmod 600", ""},
		{"a configuration that every user can write", func(b *bed) { b.write(b.files.ConfigFile, b.read(b.files.ConfigFile), 0o666) }, "config", Warning, "can change it", "chmod 644", ""},
		{"a hook of another system", func(b *bed) {
			script := filepath.Join(b.box.Dir, "hook.sh")
			b.write(script, "#!/bin/sh\r\ntrue\r\n", 0o755)
			b.write(b.files.ConfigFile, b.read(b.files.ConfigFile)+"\n[hooks]\ncommand = [\""+script+"\"]\n", 0o644)
		}, "config", Warning, "hook.sh cannot start", "its lines end with carriage returns: sed -i 's/[[:cntrl:]]$//'", ""},
		{"a hook that is no program", func(b *bed) {
			script := filepath.Join(b.box.Dir, "hook.sh")
			b.write(script, "true\n", 0o755)
			b.write(b.files.ConfigFile, b.read(b.files.ConfigFile)+"\n[hooks]\ncommand = [\""+script+"\"]\n", 0o644)
		}, "config", Warning, "hook.sh cannot start", "a script begins with the line #!/bin/sh", ""},
		{"an expired certificate", device(now.Add(-year), now.Add(-time.Hour)), "files.certificate", Failed, "expired on", "make a new one", ""},
		{"a certificate that ends soon", device(now.Add(-year), now.Add(5*24*time.Hour+time.Hour)), "files.certificate", Warning, "in 5 days", "renew", ""},
		{"a clock before the certificate", func(b *bed) { b.opts.Now = func() time.Time { return time.Unix(1000, 0) } }, "files.certificate", Failed, "valid only from…this device's clock says 1970-01-01", "timedatectl", ""},
		{"a server's certificate", func(b *bed) {
			cert, key := newAuthority(b.T, now, now.Add(year)).leaf(now.Add(-time.Hour), now.Add(year), "a.example")
			b.write(b.files.CertFile, cert, 0o644)
			b.write(b.files.KeyFile, key, 0o600)
		}, "files.certificate", Failed, "not for clients", "issued for the device", ""},
		{"an authority's certificate", func(b *bed) {
			b.write(b.files.CertFile, b.read(b.box.CAFile()), 0o644)
			b.write(b.files.KeyFile, b.read(filepath.Join(b.box.Dir, "ca-key.pem")), 0o600)
		}, "files.certificate", Warning, "a certificate authority's", "device's own", ""},
		{"a chain in the wrong order", func(b *bed) {
			b.write(b.files.CertFile, b.read(b.files.CertFile)+newAuthority(b.T, now, now.Add(year)).pem(), 0o644)
		}, "files.certificate", Warning, "number 2 did not sign number 1", "put the device's certificate first", ""},
		{"no file of roots", func(b *bed) { b.set("mqtt", "ca_file", `"none.pem"`) }, "files.broker_roots", Failed, "mqtt.ca_file…no such file", "put the file there", ""},
		{"roots that have all expired", func(b *bed) {
			b.write(filepath.Join(b.box.Dir, "old.pem"), newAuthority(b.T, now.Add(-2*year), now.Add(-year)).pem(), 0o644)
			b.set("mqtt", "ca_file", `"old.pem"`)
		}, "files.broker_roots", Failed, "1 certificate…expired", "fetch the file again", ""},
		{"some roots have expired", func(b *bed) {
			b.write(filepath.Join(b.box.Dir, "both.pem"), newAuthority(b.T, now.Add(-2*year), now.Add(-year)).pem()+b.read(b.box.CAFile()), 0o644)
			b.set("mqtt", "ca_file", `"both.pem"`)
		}, "files.broker_roots", Warning, "2 certificates…1 expired", "fetch the file again", ""},
		{"no roots for tunnels", func(b *bed) { b.set("tunnel", "ca_file", `"none.pem"`) }, "files.tunnel_roots", Failed, "tunnel.ca_file…no such file", "put the file there", ""},
		{"a client id that kicks the device's own client", func(b *bed) { b.set("mqtt", "client_id", `"pi-1"`) }, "config", Warning, "mqtt.client_id is the thing's name", "leave client_id out", ""},
		{"no service", func(b *bed) {
			b.edit(b.read(b.files.ConfigFile)[strings.Index(b.read(b.files.ConfigFile), "ECHO ="):], "")
		}, "config", Warning, "none is configured", "write [services]", ""},
	})
}

// asRoot makes root ask for another user, who runs the daemon by its unit.
func asRoot(b *bed) {
	b.opts.EUID = func() int { return superuser }
	b.put("/etc/systemd/system/culvertd.service", "[Service]\nType=notify\nUser=culvert\n")
	b.put("/etc/passwd", "root:x:0:0::/root:/bin/sh\nculvert:x:64111:64111::/:/bin/false\n")
	b.put("/etc/group", "culvert:x:64111:\nkeys:x:64112:culvert\n")
}

func TestFaultsOfTheDaemonsUser(t *testing.T) {
	if os.Geteuid() != superuser {
		t.Skip("only root can give files to another user")
	}
	open := func(b *bed) { // what is above the files
		for _, dir := range []string{b.box.Dir, b.root} {
			if err := os.Chmod(dir, 0o755); err != nil {
				b.Fatal(err)
			}
		}
	}
	provoke(t, []fault{
		{"may not enter the directory", asRoot, "files.certificate", Failed, "culvert, which runs the daemon, may not use…mode 0700", "chown culvert", ""},
		{"may not read the key", func(b *bed) { asRoot(b); open(b) }, "files.key", Failed, "culvert, which runs the daemon, may not use…mode 0600", "g+r", ""},
		{"may read the key by its group", func(b *bed) {
			asRoot(b)
			open(b)
			if err := os.Chown(b.files.KeyFile, 0, 64112); err != nil {
				b.Fatal(err)
			}
			b.write(b.files.KeyFile, b.read(b.files.KeyFile), 0o640)
		}, "files.key", OK, "fits the certificate, mode 0640", "", ""},
		{"may not write to the state directory", func(b *bed) { asRoot(b); open(b) }, "state", Failed, "culvert, which runs the daemon, cannot write to", "chown culvert", ""},
		{"may not make the state directory", func(b *bed) {
			asRoot(b)
			open(b)
			_ = os.Remove(b.files.StateDir)
		}, "state", Failed, "is missing, and culvert, which runs the daemon, may not make it", "install -d -m 700 -o culvert", ""},
		{"systemd makes the state directory", func(b *bed) {
			asRoot(b)
			open(b)
			_ = os.Remove(b.files.StateDir)
			b.put("/etc/systemd/system/culvertd.service.d/x.conf", "[Service]\nStateDirectory = culvert\n")
		}, "state", OK, "made by systemd", "", ""},
		{"may not use a service's socket", func(b *bed) {
			asRoot(b)
			open(b)
			b.write(filepath.Join(b.box.Dir, "app.sock"), "", 0o600)
			b.edit("ECHO = ", `APP = "unix:`+b.box.Dir+`/app.sock"`+"\nECHO = ")
		}, "service", Failed, "culvert, which runs the daemon, may not use", "give culvert access", ""},
	})
}

func TestFaultsOfTheStateDirectory(t *testing.T) {
	provoke(t, []fault{
		{"a file in its place", func(b *bed) {
			_ = os.Remove(b.files.StateDir)
			b.write(b.files.StateDir, "", 0o600)
		}, "state", Failed, "is not a directory", "remove it, or set tunnel.state_dir", ""},
		{"the disk hangs", func(b *bed) {
			thawed := make(chan struct{})
			b.Cleanup(func() { close(thawed) })
			b.opts.tryWrite = func(string) error { <-thawed; return nil }
			b.opts.Offline, b.opts.Timeout = true, 100*time.Millisecond
		}, "state", Failed, "does not answer", "check the disk, or set tunnel.state_dir", ""},
		{"nothing can be written", func(b *bed) {
			if _, err := os.Stat("/sys/kernel"); err != nil {
				b.Skip("there is no /sys, where no user can make files")
			}
			b.set("tunnel", "state_dir", `"/sys/kernel"`)
		}, "state", Failed, "/sys/kernel…cannot be written to", "tunnel.state_dir", ""},
		{"others may look into it", func(b *bed) { _ = os.Chmod(b.files.StateDir, 0o755) }, "state", Warning, "mode 0755…others", "chmod 700", ""},
		{"none is wanted", func(b *bed) { b.set("tunnel", "state_dir", `""`) }, "state", OK, "in memory", "", ""},
	})
}

func TestFaultsOfServices(t *testing.T) {
	service := func(address string) func(*bed) {
		return func(b *bed) { b.edit("ECHO = ", "APP = "+address+"\nECHO = ") }
	}
	provoke(t, []fault{
		{"nothing listens", func(b *bed) { service(`"` + free(b.T) + `"`)(b) }, "service", Failed, "refused the connection", "start the program", ""},
		{"no socket", service(`"unix:/nowhere/app.sock"`), "service", Failed, "there is no such socket", "start the program", ""},
		{"no such name", service(`"nothing.invalid:80"`), "service", Failed, "does not resolve", "correct it", ""},
		{"disabled", service(`{ address = 9, enabled = false }`), "service", Skipped, "disabled", "", ""},
	})
}

// A package's script asks before the unit runs: what systemd hands over then is not there yet, and nothing is wrong.
func TestACredentialIsNotMissed(t *testing.T) {
	b := newBed(t)
	b.put("/etc/passwd", "culvert:x:990:990::/:/bin/false\n")
	b.put("/usr/lib/systemd/system/culvertd.service", "[Service]\nUser=culvert\n")
	b.set("mqtt", "key_file", `"credential:key"`)
	b.opts.EUID, b.opts.Offline = func() int { return superuser }, true
	r := b.examine()
	if key := find(r, "files.key"); len(key) != 1 || key[0].Status != Skipped {
		t.Errorf("the key:\n%s", text(r))
	}
}
