package check

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox/broker"
)

// connectedTomorrow is a device whose clock was set back after it had connected: the daemon takes no less for now.
func connectedTomorrow(b *bed) {
	b.write(filepath.Join(b.files.StateDir, "clock"), strconv.FormatInt(time.Now().Add(24*time.Hour).Unix(), 10), 0o600)
}

// connectedInHalfAYear is a device of an earlier version, whose clock ran ahead for a while.
func connectedInHalfAYear(b *bed) {
	b.write(filepath.Join(b.files.StateDir, "clock"), strconv.FormatInt(time.Now().Add(180*24*time.Hour).Unix(), 10), 0o600)
}

func TestFaultsOfTheBroker(t *testing.T) {
	now := time.Now()
	policy := func(document string) func(*bed) {
		return func(b *bed) {
			p, err := broker.ParsePolicy([]byte(document))
			if err != nil {
				b.Fatal(err)
			}
			b.box.Broker.SetPolicy(p)
		}
	}
	const (
		onlyConnect = `{"Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:eu-west-1:123456789012:client/*"}]}`
		others      = `{"Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "arn:aws:iot:eu-west-1:123456789012:client/pi-1"}]}`
		client      = ":ACCOUNT:client/pi-1-tunnel"
		filter      = ":ACCOUNT:topicfilter/$aws/things/pi-1/tunnels/notify"
		noAnswers   = `{"Statement": [{"Effect": "Allow", "Action": ["iot:Connect", "iot:Subscribe", "iot:Receive", "iot:Publish"], "Resource": "*"}]}`
	)
	provoke(t, []fault{
		{"no such name", func(b *bed) { b.edit(b.box.MQTT, "nothing.invalid") }, "mqtt.name", Failed, "nothing.invalid: ", "name", ""},
		{"nothing listens", func(b *bed) { b.edit(b.box.MQTT, free(b.T)) }, "mqtt.tcp", Failed, "refuses connections", "correct the port in mqtt.endpoint", ""},
		{"not TLS", func(b *bed) { b.edit(b.box.MQTT, listen(b.T, answers("HTTP/1.1 400 Bad Request\r\n\r\n"))) }, "mqtt.tls", Failed, "TLS handshake", "does not speak TLS", ""},
		{"closed in TLS", func(b *bed) { b.edit(b.box.MQTT, listen(b.T, drop)) }, "mqtt.tls", Failed, "TLS handshake", "closed without a reason", ""},
		{"another authority", func(b *bed) {
			b.write(filepath.Join(b.box.Dir, "other.pem"), newAuthority(b.T, now.Add(-year), now.Add(year)).pem(), 0o644)
			b.set("mqtt", "ca_file", `"other.pem"`)
		}, "mqtt.tls", Failed, "unknown authority", "mqtt.ca_file (Amazon Root CA 1", ""},
		{"a stamp after the certificate's end", func(b *bed) {
			connectedInHalfAYear(b)
			a := newAuthority(b.T, now.Add(-year), now.Add(year))
			b.write(filepath.Join(b.box.Dir, "other.pem"), a.pem(), 0o644)
			b.set("mqtt", "ca_file", `"other.pem"`)
			b.edit(b.box.MQTT, a.serve(hold, now.Add(-time.Hour), now.Add(year/4), "127.0.0.1"))
		}, "mqtt.tls", Failed, "/clock it is ", "/clock and restart culvertd", ""},
		{"a certificate for another name", func(b *bed) {
			a := newAuthority(b.T, now.Add(-year), now.Add(year))
			b.write(filepath.Join(b.box.Dir, "other.pem"), a.pem(), 0o644)
			b.set("mqtt", "ca_file", `"other.pem"`)
			b.edit(b.box.MQTT, a.serve(hold, now.Add(-time.Hour), now.Add(year), "other.example"))
		}, "mqtt.tls", Failed, "TLS handshake", "for another name: check mqtt.endpoint", ""},
		{"a clock before the broker's certificate", func(b *bed) { b.opts.Now = func() time.Time { return time.Unix(1000, 0) } }, "mqtt.tls", Failed, "", "clock is slow", ""},
		{"the same, after a connection that was later", func(b *bed) {
			connectedTomorrow(b)
			a := newAuthority(b.T, now.Add(-year), now.Add(year))
			b.write(filepath.Join(b.box.Dir, "other.pem"), a.pem(), 0o644)
			b.set("mqtt", "ca_file", `"other.pem"`)
			b.edit(b.box.MQTT, a.serve(answers("no MQTT"), now.Add(time.Hour), now.Add(year), "127.0.0.1"))
		}, "mqtt.tls", OK, "trusted", "", ""},
		{"a device that the broker does not know", func(b *bed) {
			cert, key := newAuthority(b.T, now.Add(-year), now.Add(year)).leaf(now.Add(-time.Hour), now.Add(year))
			b.write(b.files.CertFile, cert, 0o644)
			b.write(b.files.KeyFile, key, 0o600)
		}, "mqtt.tls", Failed, "certificate", "must be registered and active", ""},
		{"a policy without iot:Connect", policy(others), "mqtt.connect", Failed, "closed the connection right after CONNECT", "must allow iot:Connect on client/pi-1-tunnel", client},
		{"the same, with CONNACK code 7", func(b *bed) {
			policy(others)(b)
			b.box.Broker.SetBehaviour(broker.Behaviour{ConnackCode: 7})
		}, "mqtt.connect", Failed, "return code 7 (not authorized)", "must allow iot:Connect on client/pi-1-tunnel", client},
		{"a policy without iot:Subscribe", policy(onlyConnect), "mqtt.subscribe", Failed, "closed the connection right after SUBSCRIBE", "iot:Subscribe on topicfilter/$aws", filter},
		{"the same, with SUBACK 128", func(b *bed) {
			policy(onlyConnect)(b)
			b.box.Broker.SetBehaviour(broker.Behaviour{SubackFailure: true})
		}, "mqtt.subscribe", Failed, "return code 128", "iot:Receive on topic/$aws", filter},
		{"a policy without iot:RetainPublish", func(b *bed) {
			policy(noAnswers)(b)
			b.opts.Stay = 2 * time.Second // the broker's refusal takes a moment
		}, "mqtt.answer", Warning, "right after a test answer…kept the next one", "mqtt.answer_pings = false", ":ACCOUNT:topic/culvert/pi-1/pong"},
		{"and a device that answers no pings", func(b *bed) {
			policy(noAnswers)(b)
			b.edit("answer_pings = true", "answer_pings = false")
			b.opts.Stay = 2 * time.Second
		}, "mqtt.client_id", OK, "no other client took the connection over", "", ""},
		{"another client of the same id", func(b *bed) {
			b.set("mqtt", "persistent_session", "false") // so that a subscription proves a SUBSCRIBE
			done := make(chan struct{})
			b.Cleanup(func() { close(done) })
			go func() { // acts as the client that comes back
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for seen := false; ; {
					select {
					case <-tick.C:
						clients := b.box.Broker.Clients()
						up := len(clients) == 1 && clients[0].Connected && len(clients[0].Subscriptions) == 1
						if seen = up && !seen; up && !seen { // seen before, so that the SUBACK is out
							b.box.Broker.Kick("pi-1-tunnel")
						}
					case <-done:
						return
					}
				}
			}()
			b.opts.Stay = 10 * time.Second
		}, "mqtt.client_id", Failed, "another client has the id pi-1-tunnel", "id of its own in mqtt.client_id", ""},
	})
}

func TestFaultsOfTheDataEndpoint(t *testing.T) {
	now := time.Now()
	// serving leads tunnels to a server with a good certificate and a given answer.
	serving := func(answer string) func(*bed) {
		return func(b *bed) {
			a := newAuthority(b.T, now.Add(-2*year), now.Add(year))
			b.tunnel(a, a.serve(answers(answer), now.Add(-time.Hour), now.Add(year), "127.0.0.1"))
		}
	}
	dated := func(at time.Time) func(*bed) {
		return serving("HTTP/1.1 400 Bad Request\r\nDate: " + at.UTC().Format("Mon, 02 Jan 2006 15:04:05") + " GMT\r\nContent-Length: 21\r\n\r\nInvalid access token.")
	}
	certified := func(from, until time.Time, names ...string) func(*bed) {
		return func(b *bed) {
			a := newAuthority(b.T, now.Add(-2*year), now.Add(2*year))
			b.tunnel(a, a.serve(answers("HTTP/1.1 400 Bad Request\r\nDate: "+now.UTC().Format("Mon, 02 Jan 2006 15:04:05")+" GMT\r\nContent-Length: 0\r\n\r\n"), from, until, names...))
		}
	}
	provoke(t, []fault{
		{"no such name", func(b *bed) { b.edit(strings.TrimPrefix(b.box.RelayURL, "wss://"), "nothing.invalid") }, "tunnel.name", Failed, "nothing.invalid: ", "name", ""},
		{"nothing listens", func(b *bed) { b.edit(strings.TrimPrefix(b.box.RelayURL, "wss://"), free(b.T)) }, "tunnel.tcp", Failed, "refuses connections", "correct the port in tunnel.endpoint", ""},
		{"not TLS", func(b *bed) {
			b.edit(strings.TrimPrefix(b.box.RelayURL, "wss://"), listen(b.T, answers("HTTP/1.1 400 Bad Request\r\n\r\n")))
		}, "tunnel.tls", Failed, "does not speak TLS", "correct the port in tunnel.endpoint", ""},
		{"closed in TLS", func(b *bed) { b.edit(strings.TrimPrefix(b.box.RelayURL, "wss://"), listen(b.T, drop)) }, "tunnel.tls", Failed, "closed the connection in the TLS handshake", "firewall", ""},
		{"the broker's roots do not count", func(b *bed) { b.set("tunnel", "ca_file", `""`) }, "tunnel.tls", Failed, "is not trusted, issued by culvert sandbox root", "mqtt.ca_file does not count here", ""},
		{"a certificate for another name", certified(now.Add(-time.Hour), now.Add(year), "other.example"), "tunnel.tls", Failed, "for another name", "check tunnel.endpoint and DNS", ""},
		{"an expired certificate", certified(now.Add(-year), now.Add(-24*time.Hour), "127.0.0.1"), "tunnel.tls", Failed, "expired on", "set the device's clock", ""},
		{"a stamp after the certificate's end", func(b *bed) {
			connectedInHalfAYear(b)
			certified(now.Add(-time.Hour), now.Add(year/4), "127.0.0.1")(b)
		}, "tunnel.tls", Failed, "/clock it is ", "/clock and restart culvertd", ""},
		{"a stamp that is far ahead", func(b *bed) {
			connectedInHalfAYear(b)
			certified(now.Add(-time.Hour), now.Add(year), "127.0.0.1")(b)
		}, "clock", Warning, "days ahead of this device's clock", "/clock and restart culvertd", ""},
		{"a clock before its certificate", func(b *bed) { b.opts.Now = func() time.Time { return time.Unix(1000, 0) } }, "tunnel.tls", Failed, "valid only from…clock says 1970-01-01", "timedatectl", ""},
		{"the same, after a connection that was later", func(b *bed) {
			connectedTomorrow(b)
			certified(now.Add(time.Hour), now.Add(year), "127.0.0.1")(b)
		}, "tunnel.tls", OK, "trusted", "", ""},
		{"which tells how far the clock is off", func(b *bed) { b.opts.Now = func() time.Time { return time.Unix(1000, 0) } }, "clock", Failed, " years behind 127.0.0.1: this device says 1970-01-01", "timedatectl", ""},
		{"a clock that is a day fast", dated(now.Add(-24*time.Hour - time.Minute)), "clock", Failed, "24 hours ahead of 127.0.0.1", "timedatectl", ""},
		{"a clock that is some minutes slow", dated(now.Add(5*time.Minute + 30*time.Second)), "clock", Warning, "5 minutes behind 127.0.0.1", "timedatectl", ""},
		{"a clock without one to compare it with", serving("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "clock", Skipped, "no server sent its time", "", ""},
		{"a captive portal", serving("HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0\r\n\r\n"), "tunnel.answer", Failed, "302 Found: not an answer of the tunnel service", "captive portal", ""},
		{"a web filter", serving("HTTP/1.1 403 Forbidden\r\nContent-Length: 15\r\n\r\nAccess blocked."), "tunnel.answer", Warning, "403 Forbidden: Access blocked.", "web filter", ""},
		{"a service in trouble", serving("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), "tunnel.answer", Warning, "503 Service Unavailable", "again in some minutes", ""},
		{"no HTTP", serving("SSH-2.0-OpenSSH_9.2\r\n"), "tunnel.answer", Failed, "no answer to the websocket handshake", "may intercept", ""},
		{"a region that is refused", func(b *bed) {
			b.edit(b.box.MQTT, "abc-ats.iot.eu-west-1.amazonaws.com:1")
			b.set("tunnel", "endpoint", `""`)
			b.set("tunnel", "regions", `["eu-central-1"]`)
			b.opts.Timeout = 10 * time.Second
		}, "tunnel.region", Warning, "mqtt.endpoint is in eu-west-1", `add "eu-west-1" to tunnel.regions`, ""},
		{"a region that is not known", func(b *bed) { b.set("tunnel", "endpoint", `""`) }, "tunnel.region", Skipped, "unknown", "", ""},
	})
}

func TestACheckIsOverInItsTime(t *testing.T) {
	b := newBed(t)
	silent := listen(t, hold)
	b.edit(b.box.MQTT, silent)
	b.edit(strings.TrimPrefix(b.box.RelayURL, "wss://"), silent)
	b.opts.Timeout = 300 * time.Millisecond
	began := time.Now()
	r := b.examine()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, id := range []string{"mqtt.tls", "tunnel.tls"} {
		if list := find(r, id); len(list) != 1 || list[0].Status != Failed || !has(list[0].Text, "300ms is over (--timeout)") {
			t.Errorf("%s: %+v", id, list[0])
		}
	}
	fits(t, r)
}
