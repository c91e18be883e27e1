package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/relay"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

func TestTwoLocalProxiesCarryBytes(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	for _, version := range []string{"V1", "V2", "V3"} {
		t.Run(version, func(t *testing.T) {
			box := startSandbox(t, sandbox.Config{})
			arrived := make(chan struct{})
			target := server(t, func(c net.Conn) {
				if err := bothWays(c, size, 2, 1); err != nil {
					t.Errorf("device's side: %v", err)
				}
				close(arrived)
				_, _ = io.Copy(io.Discard, c)
			})
			tunnel := tunnelFor(t, box, "BULK")
			d := startProxy(t, box, tunnel.DestinationToken, "-d", "BULK="+target)
			d.connected(t)
			s := startProxy(t, box, tunnel.SourceToken, "-s", "BULK=0", "-y", version)
			c := dialPort(t, s.port(t))
			if err := bothWays(c, size, 1, 2); err != nil {
				t.Errorf("operator's side: %v", err)
			}
			_ = c.Close()
			<-arrived // closing the tunnel ends what is under way
			d.waitLog(t, "Connected to 127.0.0.1, port: ", time.Second)
			if err := box.Store.Close(tunnel.Tunnel.ID, false); err != nil {
				t.Fatal(err)
			}
			d.wantExit(t, 0)
			s.wantExit(t, 0)
		})
	}
}

func TestALocalProxyAgainstTheDaemon(t *testing.T) {
	t.Parallel()
	echo := echoServer(t)
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ECHO": echo, "OTHER": echo}})
	d := startDaemon(t, box.Devices()[0].ConfigFile)
	d.waitLog(t, "subscribed", proxyLimit)
	tunnel := tunnelFor(t, box, "ECHO", "OTHER")
	d.waitLog(t, "tunnel connected", proxyLimit)
	s := startProxy(t, box, tunnel.SourceToken, "-m", "src", "-b", "127.0.0.1")
	for _, service := range []string{"ECHO", "OTHER"} {
		s.waitLog(t, "Listen port assigned for service id "+service+". New port mapping:", proxyLimit)
		line := s.waitLog(t, service+" = ", proxyLimit)
		c := dialPort(t, line[strings.LastIndex(line, " ")+1:])
		wantEcho(t, c, "hello "+service)
	}
	s.stop(t)
}

func TestALocalProxyWithABareEndpointTakesTheOnlyService(t *testing.T) {
	t.Parallel()
	for _, service := range [][]string{{"SSH:1"}, {}} {
		t.Run(fmt.Sprint(service), func(t *testing.T) {
			box := startSandbox(t, sandbox.Config{})
			path := filepath.Join(shortDir(t), "a=b.sock")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
				}
			}()
			tunnel := tunnelFor(t, box, service...)
			d := startProxy(t, box, tunnel.DestinationToken, "-d", path)
			d.connected(t)
			s := startProxy(t, box, tunnel.SourceToken, "-s", "0")
			wantEcho(t, dialPort(t, s.port(t)), "hello")
			d.waitLog(t, "Connected to Unix socket: "+path, proxyLimit)
		})
	}
}

func TestExitCodesOfALocalProxy(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())
	tests := []struct {
		name string
		args []string // of a source, besides its token
		do   func(t *testing.T, p localproxy, tunnel tunnels.Opened)
		code int
		say  string
	}{
		{"the tunnel was closed", []string{"-s", "SSH=0"}, func(t *testing.T, p localproxy, tunnel tunnels.Opened) {
			p.connected(t)
			_ = box.Store.Close(tunnel.Tunnel.ID, false)
		}, 0, "the tunnel was closed"},
		{"asked to end", []string{"-s", "SSH=0"}, func(t *testing.T, p localproxy, _ tunnels.Opened) {
			p.connected(t)
			p.signal(t, syscall.SIGINT)
		}, 0, "stopped"},
		{"a port in use", []string{"-s", "SSH=" + takenPort}, nil, 1, "another program has the port"},
		{
			"no connection, and few tries allowed",
			[]string{"-s", "0", "-e", "127.0.0.1:1", "--settings-json", writeFile(t, `{"tunneling":{"proxy":{"websocket":{"connect_retry_count":"1"}}}}`)},
			nil, 1, "given up after 2 failed attempts to connect",
		},
		{"an unknown certificate", []string{"-s", "0", "-e", startSandbox(t, sandbox.Config{}).RelayURL}, nil, 1, "name its root certificate with -c"},
		{"wrong usage", []string{"-s", "SSH=99999"}, nil, 2, "out of range"},
		{"an unknown flag", []string{"--sport", "1"}, nil, 2, "unknown flag"},
		{"a spent token", []string{"-s", "SSH=0"}, func(t *testing.T, p localproxy, tunnel tunnels.Opened) {
			p.connected(t)
			startProxy(t, box, tunnel.SourceToken, "-s", "SSH=0").wantExit(t, 3)
			p.signal(t, syscall.SIGTERM)
		}, 0, "stopped"},
		{"a token of the other side", []string{"-d", "22"}, nil, 3, "the service rejected the token"},
		{"a rotated token", []string{"-s", "SSH=0"}, func(t *testing.T, p localproxy, tunnel tunnels.Opened) {
			p.connected(t)
			if _, err := box.Store.Rotate(tunnel.Tunnel.ID, tunnels.RotateSource, nil); err != nil {
				t.Error(err)
			}
		}, 3, "revoked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tunnel := tunnelFor(t, box, "SSH")
			p := startProxy(t, box, tunnel.SourceToken, tt.args...)
			if tt.do != nil {
				tt.do(t, p, tunnel)
			}
			p.wantExit(t, tt.code)
			if !strings.Contains(p.log(), tt.say) {
				t.Errorf("it did not say %q", tt.say)
			}
			if n := strings.Count(p.log(), "goroutine "); n > 0 {
				t.Error("it printed a stack trace")
			}
		})
	}
}

// How a tunnel's end looks is documented nowhere.
func TestALocalProxyEndsWithTheTunnelHoweverThatLooks(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]sandbox.Config{
		"a close frame, then a refusal without a word": {Behaviour: tunnels.Behaviour{RefusalWithoutBody: true, RefusalStatus: 403}},
		"a close frame, then a reason in the header":   {Behaviour: tunnels.Behaviour{RefusalWithoutBody: true, RefusalReasonHeader: true, RefusalStatus: 410}},
		"no close frame, then a refusal":               {Relay: relay.Config{Endings: []relay.Ending{{Bare: true}}}},
		"a close frame without a code":                 {Relay: relay.Config{Endings: []relay.Ending{{}}}},
		"a close frame of its own":                     {Relay: relay.Config{Endings: []relay.Ending{{Code: 1012, Reason: "bye"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			box := startSandbox(t, cfg)
			tunnel := tunnelFor(t, box, "SSH")
			p := startProxy(t, box, tunnel.SourceToken, "-s", "SSH=0")
			p.connected(t)
			if err := box.Store.Close(tunnel.Tunnel.ID, false); err != nil {
				t.Fatal(err)
			}
			p.wantExit(t, 0)
		})
	}
}

func TestLocalProxiesComeBackAfterALostLink(t *testing.T) {
	t.Parallel()
	echo := echoServer(t)
	box := startSandbox(t, sandbox.Config{})
	tunnel := tunnelFor(t, box, "ECHO")
	d := startProxy(t, box, tunnel.DestinationToken, "-d", "ECHO="+echo)
	d.connected(t)
	s := startProxy(t, box, tunnel.SourceToken, "-s", "ECHO=0")
	port := s.port(t)
	wantEcho(t, dialPort(t, port), "before")
	marks := []int{d.mark(), s.mark()}
	box.Relay.Faults().Cut(relay.Target{})
	d.waitLogFrom(t, marks[0], "Successfully established websocket connection", proxyLimit)
	s.waitLogFrom(t, marks[1], "Successfully established websocket connection", proxyLimit)
	wantEcho(t, dialPort(t, port), "after")
}

// What differs between the mappings and the tunnel's services stops nothing.
func TestLocalProxiesWithOtherServicesThanTheTunnel(t *testing.T) {
	t.Parallel()
	echo := echoServer(t)
	box := startSandbox(t, sandbox.Config{})
	tunnel := tunnelFor(t, box, "A", "B")
	d := startProxy(t, box, tunnel.DestinationToken, "-d", "A="+echo+",C=22")
	d.connected(t)
	d.waitLog(t, "service B of the tunnel has no target here", proxyLimit)
	s := startProxy(t, box, tunnel.SourceToken, "-s", "A=0,D=0")
	s.waitLog(t, "the tunnel has no service D", proxyLimit)
	s.waitLog(t, "Listen port assigned for service id B", proxyLimit)
	line := s.waitLog(t, "B = ", proxyLimit)
	wantEcho(t, dialPort(t, s.port(t)), "hello")
	refused, err := net.Dial("tcp", "127.0.0.1:"+line[strings.LastIndex(line, " ")+1:])
	if errors.Is(err, syscall.ECONNRESET) {
		return // it has been reset before connect(2) was asked how it went
	}
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Close()
	_ = refused.SetDeadline(time.Now().Add(proxyLimit))
	if n, err := refused.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection to a service without a target read %d bytes, %v", n, err)
	}
}

func TestASourceCarriesAThousandConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	const connections = 1000
	echo := echoServer(t)
	box := startSandbox(t, sandbox.Config{})
	tunnel := tunnelFor(t, box, "ECHO")
	d := startProxy(t, box, tunnel.DestinationToken, "-d", "ECHO="+echo)
	d.connected(t)
	s := startProxy(t, box, tunnel.SourceToken, "-s", "ECHO=0")
	port := s.port(t)
	for round := range 2 { // those of the second come while those of the first are still ending
		var all sync.WaitGroup
		open, failed := make(chan struct{}), make(chan error, 2*connections)
		var standing sync.WaitGroup
		standing.Add(connections)
		for i := range connections {
			all.Go(func() {
				err := func() error {
					defer standing.Done()
					c, err := net.Dial("tcp", "127.0.0.1:"+port)
					if err != nil {
						return err
					}
					all.Go(func() {
						<-open // until all stand
						defer c.Close()
						if err := echoes(c, fmt.Sprintf("round %d, connection %d again", round, i)); err != nil {
							failed <- err
						}
					})
					return echoes(c, fmt.Sprintf("round %d, connection %d", round, i))
				}()
				if err != nil {
					failed <- err
				}
			})
		}
		standing.Wait()
		close(open)
		all.Wait()
		close(failed)
		n := 0
		for err := range failed {
			if n++; n <= 3 {
				t.Error(err)
			}
		}
		if n > 0 {
			t.Fatalf("round %d: %d connections failed", round, n)
		}
	}
}

// A client that says "that was all, now answer" gets its answer, where both sides are Culvert's.
func TestHalfCloseThroughTheWholeChain(t *testing.T) {
	t.Parallel()
	question, answer := make([]byte, 300_000), make([]byte, 500_000)
	target := server(t, func(c net.Conn) {
		if got, err := io.ReadAll(c); err != nil || len(got) != len(question) {
			t.Errorf("the device's side read %d bytes, %v", len(got), err)
		}
		_, _ = c.Write(answer)
	})
	box := startSandbox(t, sandbox.Config{Services: map[string]string{"ASK": target}})
	d := startDaemon(t, box.Devices()[0].ConfigFile)
	d.waitLog(t, "subscribed", proxyLimit)
	tunnel := tunnelFor(t, box, "ASK")
	d.waitLog(t, "tunnel connected", proxyLimit)
	c := dialPort(t, startProxy(t, box, tunnel.SourceToken, "-s", "ASK=0").port(t))
	if _, err := c.Write(question); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || len(got) != len(answer) {
		t.Errorf("the operator's side read %d bytes, %v, want %d", len(got), err, len(answer))
	}
}
