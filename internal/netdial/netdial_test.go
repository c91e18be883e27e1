package netdial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
)

// environment clears the proxy variables and sets those given.
func environment(t *testing.T, pairs ...string) {
	t.Helper()
	for _, v := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"} {
		t.Setenv(v, "")
	}
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

func TestWhichProxyTheEnvironmentNames(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    []string
		target string
		want   string // "" = direct
	}{
		{"none", nil, "a.example:443", ""},
		{"upper case", []string{"HTTPS_PROXY", "http://p:1"}, "a.example:443", "http://p:1"},
		{"lower case wins", []string{"HTTPS_PROXY", "http://upper:1", "https_proxy", "http://lower:1"}, "a.example:443", "http://lower:1"},
		{"host:port means http", []string{"https_proxy", "p:3128"}, "a.example:443", "http://p:3128"},
		{"host alone means http", []string{"https_proxy", "p"}, "a.example:443", "http://p"},
		{"white space and case are forgiven", []string{"https_proxy", " HTTP://p:1 "}, "a.example:443", "http://p:1"},
		{"any port of the target", []string{"https_proxy", "http://p:1"}, "a.example:8883", "http://p:1"},
		{"http_proxy is not for us", []string{"http_proxy", "http://p:1"}, "a.example:443", ""},
		{"no_proxy: the name", []string{"https_proxy", "http://p:1", "no_proxy", "x,a.example"}, "a.example:443", ""},
		{"no_proxy: a name covers what is below", []string{"https_proxy", "http://p:1", "no_proxy", "example"}, "a.example:443", ""},
		{"no_proxy: a suffix", []string{"https_proxy", "http://p:1", "no_proxy", ".example"}, "a.example:443", ""},
		{"no_proxy: not half a label", []string{"https_proxy", "http://p:1", "no_proxy", "ample"}, "a.example:443", "http://p:1"},
		{"no_proxy: CIDR", []string{"https_proxy", "http://p:1", "no_proxy", "192.0.2.0/24"}, "192.0.2.9:443", ""},
		{"no_proxy: outside of the CIDR", []string{"https_proxy", "http://p:1", "no_proxy", "192.0.2.0/24"}, "192.0.3.9:443", "http://p:1"},
		{"no_proxy: IPv6 CIDR", []string{"https_proxy", "http://p:1", "no_proxy", "2001:db8::/32"}, "[2001:db8::9]:443", ""},
		{"no_proxy: this port only", []string{"https_proxy", "http://p:1", "no_proxy", "a.example:443"}, "a.example:8883", "http://p:1"},
		{"no_proxy: everything", []string{"https_proxy", "http://p:1", "no_proxy", "*"}, "a.example:443", ""},
		{"no_proxy: lower case wins", []string{"https_proxy", "http://p:1", "no_proxy", "b.example", "NO_PROXY", "a.example"}, "a.example:443", "http://p:1"},
		{"NO_PROXY alone", []string{"https_proxy", "http://p:1", "NO_PROXY", "a.example"}, "a.example:443", ""},
		{"localhost is never proxied", []string{"https_proxy", "http://p:1"}, "localhost:443", ""},
		{"loopback is never proxied", []string{"https_proxy", "http://p:1"}, "127.0.0.1:443", ""},
		{"IPv6 loopback is never proxied", []string{"https_proxy", "http://p:1"}, "[::1]:443", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.env...)
			d := FromEnvironment()
			proxy, err := d.proxyFor("tcp", c.target)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if proxy != nil {
				got = proxy.String()
			}
			if got != c.want {
				t.Errorf("proxy %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheEnvironmentIsReadAtEachCall(t *testing.T) {
	environment(t, "https_proxy", "http://one:1")
	one := FromEnvironment()
	environment(t, "HTTPS_PROXY", "http://two:2")
	two := FromEnvironment()
	for _, c := range []struct {
		d                *Dialer
		wantHost, wantIn string
	}{{one, "one:1", "https_proxy"}, {two, "two:2", "HTTPS_PROXY"}} {
		u, err := c.d.proxyFor("tcp", "a.example:1")
		if err != nil || u.Host != c.wantHost || c.d.variable != c.wantIn {
			t.Errorf("%v (%v) from %s, want %s from %s", u, err, c.d.variable, c.wantHost, c.wantIn)
		}
	}
}

func TestAProxyThatCannotBeReadFailsInsteadOfDiallingDirectly(t *testing.T) {
	for _, value := range []string{"http://", "://", "http://joe:hun%ter2@p:1", "http://joe:hunter2@p:port", "http://joe:hunter2@/"} {
		t.Run(value, func(t *testing.T) {
			environment(t, "https_proxy", value, "no_proxy", "inside.example")
			d := FromEnvironment()
			dialled := ""
			d.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = address
				return nil, errors.New("stop here")
			}
			_, err := d.DialContext(t.Context(), "tcp", "a.example:443")
			if err == nil || dialled != "" {
				t.Fatalf("err = %v, dialled %q", err, dialled)
			}
			if !strings.Contains(err.Error(), "https_proxy") || !strings.Contains(err.Error(), "%XX") || strings.Contains(err.Error(), "hun") {
				t.Errorf("err = %v", err)
			}
			if _, err = d.DialContext(t.Context(), "tcp", "inside.example:443"); dialled != "inside.example:443" {
				t.Errorf("a target of no_proxy was not dialled: %v", err)
			}
		})
	}
}

func TestTargetsThatWouldBreakTheRequestAreRefused(t *testing.T) {
	for _, target := range []string{"a.example", "a.example:", ":443", "a\r\nX: y:443", "a b:443", "a\x00:443", "ä.example:443"} {
		t.Run(target, func(t *testing.T) {
			d := &Dialer{
				Proxy: func(*url.URL) (*url.URL, error) { return url.Parse("http://p:1") },
				Dial:  func(context.Context, string, string) (net.Conn, error) { t.Error("dialled"); return nil, io.EOF },
			}
			if conn, err := d.DialContext(t.Context(), "tcp", target); err == nil {
				t.Errorf("connected: %v", conn)
			}
		})
	}
}

func TestTheZeroValueDialsDirectly(t *testing.T) {
	environment(t, "https_proxy", "http://p.invalid:1")
	conn, err := new(Dialer).DialContext(t.Context(), "tcp", serve(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	echoes(t, conn)
	if _, ok := conn.(*net.TCPConn); !ok {
		t.Errorf("a %T hides the socket", conn)
	}
}

func TestOtherNetworksNeverUseAProxy(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d := through(t, "http://p.invalid:1")
	conn, err := d.DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// socksServer is a SOCKS 5 proxy that connects everything to an echo. It wants user and password unless empty.
func socksServer(user, password string) func(net.Conn) {
	return func(c net.Conn) {
		buf := make([]byte, 512)
		read := func(n int) []byte {
			if _, err := io.ReadFull(c, buf[:n]); err != nil {
				return make([]byte, n)
			}
			return buf[:n]
		}
		methods := read(int(read(2)[1]))
		if user == "" {
			_, _ = c.Write([]byte{5, 0})
		} else {
			if !bytes.Contains(methods, []byte{2}) {
				_, _ = c.Write([]byte{5, 0xff})
				return
			}
			_, _ = c.Write([]byte{5, 2})
			name := string(read(int(read(2)[1])))
			word := string(read(int(read(1)[0])))
			if name != user || word != password {
				_, _ = c.Write([]byte{1, 1})
				return
			}
			_, _ = c.Write([]byte{1, 0})
		}
		head := read(4)
		if head[3] != 3 { // only names: the proxy resolves
			_, _ = c.Write([]byte{5, 8, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		host := string(read(int(read(1)[0])))
		_ = read(2)
		if host == "refused.example" {
			_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
		echo(c)
	}
}

func TestSOCKS5(t *testing.T) {
	open := serve(t, socksServer("", ""))
	guarded := serve(t, socksServer("joe", "hunter2"))
	for _, c := range []struct {
		name, url, target string
		want              string // in the error; "" = it works
	}{
		{"no log-in; the proxy resolves the name", "socks5://" + open, "a.example:443", ""},
		{"socks5h", "socks5h://" + open, "a.example:443", ""},
		{"log-in", "socks5://joe:hunter2@" + guarded, "a.example:443", ""},
		{"wrong password", "socks5://joe:hunter3@" + guarded, "a.example:443", "authentication failed"},
		{"log-in is missing", "socks5://" + guarded, "a.example:443", "no acceptable authentication"},
		{"the proxy cannot reach the target", "socks5://" + open, "refused.example:443", "connection refused"},
		{"it is no SOCKS proxy", "socks5://" + serve(t, hangUp("HTTP/1.1 400 x\r\n\r\n")), "a.example:443", "unexpected protocol version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := through(t, c.url).DialContext(t.Context(), "tcp", c.target)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				echoes(t, conn)
				return
			}
			var proxyErr *ProxyError
			if !errors.As(err, &proxyErr) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter") {
				t.Errorf("err = %v, want %q", err, c.want)
			}
		})
	}
}

func TestViaTellsTheWayWithoutThePassword(t *testing.T) {
	environment(t, "https_proxy", "http://user:hidden@p.example:3128", "no_proxy", "b.example")
	proxy, variable, err := FromEnvironment().Via("a.example:443")
	if proxy != "http://p.example:3128" || variable != "https_proxy" || err != nil {
		t.Errorf("got %q, %q, %v", proxy, variable, err)
	}
	if proxy, variable, err = FromEnvironment().Via("b.example:443"); proxy != "" || variable != "" || err != nil {
		t.Errorf("for an exception: %q, %q, %v", proxy, variable, err)
	}
	environment(t, "https_proxy", "http://user:hid den@:3128")
	if _, _, err = FromEnvironment().Via("a.example:443"); err == nil || strings.Contains(err.Error(), "den") {
		t.Errorf("error = %v", err)
	}
}
