package check

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/control"
	"github.com/culvert-iot/culvert/agent/notify"
	"github.com/culvert-iot/culvert/internal/version"
)

// daemon answers on the control socket as one that is subscribed and has this bed's configuration; change makes it
// another.
func (b *bed) daemon(change func(*agent.Status)) {
	b.Helper()
	now := time.Now()
	s := agent.Status{
		Version: version.Get(), PID: 4711, Started: now.Add(-time.Hour), Now: now, Thing: "pi-1", Config: b.files.ConfigFile,
		MQTT: agent.MQTTStatus{Endpoint: b.box.MQTT, ClientID: "pi-1-tunnel", State: agent.Subscribed, Since: now.Add(-time.Hour)},
	}
	if change != nil {
		change(&s)
	}
	server, err := control.Listen(b.files.Socket, "", slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ctx, func(context.Context, control.Request) (any, error) { return s, nil })
	}()
	b.Cleanup(func() {
		cancel()
		<-done
	})
}

// process puts a process into the system's table.
func (b *bed) process(pid int, environ string, args ...string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	b.put(dir+"cmdline", strings.Join(args, "\x00")+"\x00")
	b.put(dir+"environ", environ)
	b.put(dir+"status", fmt.Sprintf("Name:\tculvertd\nUid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\nGid:\t0\t0\t0\t0\nGroups:\t\n", os.Geteuid()))
}

func TestARunningDaemonKeepsItsConnection(t *testing.T) {
	for name, start := range map[string]func(*bed){
		"one that answers": func(b *bed) { b.daemon(nil) },
		"one whose control socket is off": func(b *bed) {
			b.set("control", "socket", `""`)
			b.process(4711, "", "/usr/bin/culvertd", "--config", b.files.ConfigFile)
		},
		"one that was started with a relative path": func(b *bed) {
			b.set("control", "socket", `""`)
			b.process(4711, "", "culvertd", "run", "-config=culvertd.toml")
			if err := os.Symlink(b.box.Dir, filepath.Join(b.root, "/proc/4711/cwd")); err != nil {
				b.Fatal(err)
			}
		},
		"one that hangs": func(b *bed) {
			l, err := net.Listen("unix", b.files.Socket)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = l.Close() })
			go func() {
				if c, err := l.Accept(); err == nil {
					_ = c.Close()
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			start(b)
			r := b.examine()
			if c := find(r, "mqtt.tls"); len(c) != 1 || c[0].Status != OK {
				t.Errorf("TLS is not tried: %s", text(r))
			}
			for _, s := range b.box.Broker.Clients() {
				t.Errorf("the broker got a CONNECT of %s: %s", s.ID, text(r))
			}
			fits(t, r)
		})
	}
	t.Run("other programs are no daemons of this configuration", func(t *testing.T) {
		b := newBed(t)
		b.process(10, "", "/usr/bin/culvertd", "status", "--config", b.files.ConfigFile)
		b.process(11, "", "/usr/bin/culvertd", "--config", "/etc/other.toml")
		b.process(12, "", "/usr/bin/vi", b.files.ConfigFile)
		b.process(13, "", "/usr/bin/culvertd")
		r := b.examine()
		if c := find(r, "mqtt.connect"); len(c) != 1 || c[0].Status != OK {
			t.Errorf("got %s", text(r))
		}
	})
}

func TestFaultsThatTheRunningDaemonTells(t *testing.T) {
	with := func(change func(*agent.Status)) func(*bed) { return func(b *bed) { b.daemon(change) } }
	troubled := func(state agent.MQTTState, f notify.Fault) func(*bed) {
		return with(func(s *agent.Status) {
			s.MQTT.State, s.MQTT.LastFault, s.MQTT.LastErrorAt = state, f, s.Now
			s.MQTT.LastError, s.MQTT.LastHint = "what happened", "what to do"
		})
	}
	provoke(t, []fault{
		{"all well", with(func(s *agent.Status) { s.MQTT.LastNotify = s.Now }), "mqtt.subscribe", OK, "by the running daemon, since", "", ""},
		{"notifications come", with(func(s *agent.Status) { s.MQTT.LastNotify = s.Now }), "mqtt.receive", OK, "the last notification came at", "", ""},
		{"it may not connect", troubled(agent.Connecting, notify.ConnectDenied), "mqtt.connect", Failed, "the running daemon: what happened", "what to do", ":ACCOUNT:client/pi-1-tunnel"},
		{"it may not subscribe", troubled(agent.Connecting, notify.SubscribeDenied), "mqtt.subscribe", Failed, "what happened", "what to do", ":topicfilter/$aws/things/pi-1/tunnels/notify"},
		{"it waits for the SUBACK", troubled(agent.Connected, ""), "mqtt.subscribe", Failed, "what happened", "what to do", ""},
		{"it has only begun", with(func(s *agent.Status) { s.MQTT.State = agent.Connecting }), "mqtt.connect", Warning, "is connecting", "again in a moment", ""},
		{"it answers pings", with(func(s *agent.Status) { s.MQTT.LastAnswer = s.Now }), "mqtt.answer", OK, "answered a ping at", "", ""},
		{"no ping came", with(func(*agent.Status) {}), "mqtt.answer", Skipped, "no ping was answered yet…iot:RetainPublish on topic/culvert/pi-1/pong", "", ""},
		{"it may not answer pings", with(func(s *agent.Status) { s.MQTT.LastAnswer, s.MQTT.AnswersDenied = s.Now, true }), "mqtt.answer", Warning, "no longer answers pings", "restart the daemon", ":topic/culvert/pi-1/pong"},
		{"another client has its id", troubled(agent.Subscribed, notify.ClientIDClash), "mqtt.client_id", Failed, "what happened", "what to do", ""},
		{"it runs with another file", with(func(s *agent.Status) { s.Config = "/etc/other.toml" }), "daemon", Warning, "runs with another file, /etc/other.toml", "check that file", ""},
		{"it was not restarted", with(func(s *agent.Status) { s.MQTT.ClientID = "old" }), "daemon", Warning, `pid 4711 still runs with mqtt.client_id "old"`, "restart it", ""},
		{"so that its connection is not in the way", with(func(s *agent.Status) { s.MQTT.ClientID = "old" }), "mqtt.connect", OK, "by a connection of this check", "", ""},
		{"it is of an older version", with(func(s *agent.Status) { s.Version.Version = "v0.0.1" }), "daemon", Warning, "pid 4711 is of version v0.0.1", "restart it", ""},
		{"something else is in the socket's place", func(b *bed) { b.write(b.files.Socket, "", 0o600) }, "daemon", Failed, "exists and is not a socket", "remove it, or correct control.socket", ""},
		{"its socket is gone", func(b *bed) { b.process(4711, "", "culvertd", "--config", b.files.ConfigFile) }, "daemon", Failed, "the daemon runs (pid 4711), but does not answer", "restart it", ""},
		{"its control socket is off", func(b *bed) {
			b.set("control", "socket", `""`)
			b.process(4711, "", "culvertd", "--config", b.files.ConfigFile)
		}, "daemon", Warning, "the daemon runs (pid 4711) and cannot be asked", "set control.socket", ""},
		{"it has another web proxy than the shell", func(b *bed) {
			b.daemon(nil)
			b.process(4711, "HOME=/\x00HTTPS_PROXY=http://user:hidden@p.example:1\x00", "culvertd")
		}, "proxy", Warning, "none…; the running daemon has another https_proxy", "systemctl edit culvertd", ""},
	})
}

func TestFaultsOfSystemd(t *testing.T) {
	const unitFile = "/lib/systemd/system/culvertd.service"
	booted := func(more func(b *bed)) func(*bed) {
		return func(b *bed) {
			b.mkdir(filepath.Join(b.root, "/run/systemd/system"))
			if more != nil {
				more(b)
			}
		}
	}
	good := func(b *bed) {
		b.put(unitFile, "[Unit]\n[Service]\nType=notify\n")
		b.put("/etc/systemd/system/multi-user.target.wants/culvertd.service", "")
		b.put("/run/systemd/units/invocation:culvertd.service", "")
	}
	without := func(path string) func(*bed) {
		return booted(func(b *bed) {
			good(b)
			if err := os.Remove(filepath.Join(b.root, path)); err != nil {
				b.Fatal(err)
			}
		})
	}
	provoke(t, []fault{
		{"another init", func(*bed) {}, "systemd", Skipped, "does not run systemd", "", ""},
		{"all well", booted(good), "systemd", OK, "enabled and active, Type=notify", "", ""},
		{"no unit", booted(nil), "systemd", Warning, "there is no culvertd.service", "systemctl enable --now culvertd", ""},
		{"masked", booted(func(b *bed) {
			b.mkdir(filepath.Join(b.root, "/etc/systemd/system"))
			if err := os.Symlink(os.DevNull, filepath.Join(b.root, "/etc/systemd/system/culvertd.service")); err != nil {
				b.Fatal(err)
			}
		}), "systemd", Warning, "is masked", "unmask", ""},
		{"neither enabled nor active", booted(func(b *bed) { b.put(unitFile, "[Service]\n") }), "systemd", Warning, "neither enabled nor active", "enable --now", ""},
		{"not enabled", without("/etc/systemd/system/multi-user.target.wants/culvertd.service"), "systemd", Warning, "active and not enabled", "systemctl enable culvertd", ""},
		{"not active", without("/run/systemd/units/invocation:culvertd.service"), "systemd", Warning, "enabled and not active", "journalctl -u culvertd", ""},
		{"a daemon beside the unit", booted(func(b *bed) {
			b.put(unitFile, "[Service]\nType=notify\n")
			b.put("/etc/systemd/system/multi-user.target.wants/culvertd.service", "")
			b.daemon(nil)
		}), "systemd", Warning, "a daemon runs without it", "stop the one that runs", ""},
		{"a unit of the simple type, by a drop-in", booted(func(b *bed) {
			good(b)
			b.put("/etc/systemd/system/culvertd.service.d/own.conf", "[Service]\nType=simple\n")
		}), "systemd", Warning, "has Type=simple", "set Type=notify", ""},
	})
}

func TestResultsAreForPrograms(t *testing.T) {
	b := newBed(t)
	b.daemon(func(s *agent.Status) {
		s.MQTT.State, s.MQTT.LastFault, s.MQTT.LastError, s.MQTT.LastHint, s.MQTT.LastErrorAt = agent.Connecting, notify.ConnectDenied, "x", "y", s.Now
	})
	data, err := json.Marshal(b.examine())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"config":"` + b.files.ConfigFile + `"`, `"thing":"pi-1"`, `"well":false`, `"failed":1`, `"id":"mqtt.connect"`, `"status":"failed"`, `"remedy":"y"`,
		`"policy":[{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:REGION:ACCOUNT:client/pi-1-tunnel"}]`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("lacks %s:\n%s", want, data)
		}
	}
}
