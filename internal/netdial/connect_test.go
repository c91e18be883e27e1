package netdial

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/tlsdial"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnectGoesThroughWhateverTheAnswerLooksLike(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
	}{
		{"in one piece", say(established)},
		{"byte by byte", say(strings.Split(established, "")...)},
		{"HTTP/1.0, no header", say("HTTP/1.0 200 OK\r\n\r\n")},
		{"status without a text", say("HTTP/1.1 200\r\n\r\n")},
		{"another 2xx", say("HTTP/1.1 204 No Content\r\n\r\n")},
		{"a length that means nothing here", say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")},
		{"an interim answer first", say("HTTP/1.1 100 Continue\r\n\r\n", established)},
		{"a header just below the limit", say("HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", answerLimit-100) + "\r\n\r\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a asked
			proxy := serve(t, answering(&a, c.answer))
			conn, err := through(t, "http://"+proxy).DialContext(t.Context(), "tcp", "broker.example:8883")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			echoes(t, conn)
			if r := a.get(); r.Method != http.MethodConnect || r.RequestURI != "broker.example:8883" || r.Host != "broker.example:8883" {
				t.Errorf("request %s %s, Host %s", r.Method, r.RequestURI, r.Host)
			}
		})
	}
}

func TestConnectKeepsWhatComesRightBehindTheAnswer(t *testing.T) {
	var a asked
	greeting := strings.Repeat("220 who speaks first\n", 100)
	proxy := serve(t, answering(&a, say(established+greeting)))
	conn, err := through(t, "http://"+proxy).DialContext(t.Context(), "tcp", "broker.example:8883")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got := make([]byte, len(greeting))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != greeting {
		t.Errorf("got %q", got)
	}
	echoes(t, conn)
}

func TestConnectWritesTargetAndCredentials(t *testing.T) {
	for _, c := range []struct {
		name, user, target string
		wantURI, wantAuth  string
	}{
		{"name, no user", "", "broker.example:443", "broker.example:443", ""},
		{"IPv4 literal", "", "192.0.2.7:8883", "192.0.2.7:8883", ""},
		{"IPv6 literal keeps its brackets", "", "[2001:db8::7]:8883", "[2001:db8::7]:8883", ""},
		{"user and password", "joe:secret@", "broker.example:443", "broker.example:443", "Basic am9lOnNlY3JldA=="},
		{"escaped characters", "joe:p%40ss%3Aword@", "broker.example:443", "broker.example:443", "Basic am9lOnBAc3M6d29yZA=="},
		{"user without a password", "joe@", "broker.example:443", "broker.example:443", "Basic am9lOg=="},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a asked
			proxy := serve(t, answering(&a, say(established)))
			conn, err := through(t, "http://"+c.user+proxy).DialContext(t.Context(), "tcp", c.target)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			r := a.get()
			if r.RequestURI != c.wantURI || r.Host != c.wantURI {
				t.Errorf("CONNECT %s, Host %s, want %s", r.RequestURI, r.Host, c.wantURI)
			}
			if got := r.Header.Get("Proxy-Authorization"); got != c.wantAuth {
				t.Errorf("Proxy-Authorization %q, want %q", got, c.wantAuth)
			}
		})
	}
}

func TestProxyErrorsNameTheCauseAndTheRemedyButNoPassword(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := refused.Addr().String()
	_ = refused.Close()
	certExpired, pool := certificate(t, time.Now().Add(-time.Minute))
	expired := func(c net.Conn) {
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certExpired}}).Handshake()
	}

	for _, c := range []struct {
		name       string
		url        string // of the proxy, without the address where answer is served
		answer     func(net.Conn)
		raw        func(net.Conn) // instead of answer: no request is read
		wantStatus int
		want       []string
	}{
		{
			"407 without a user", "http://", say("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n"), nil, 407,
			[]string{"407 Proxy Authentication Required", "http://user:password@host:port", "https_proxy"},
		},
		{
			"407 with the wrong password", "http://joe:hunter2@", say("HTTP/1.1 407 no\r\n\r\n"), nil, 407,
			[]string{"407 no", "correct user name or password in https_proxy"},
		},
		{
			"a proxy that repeats the request", "http://joe:hunter2@",
			say("HTTP/1.1 407 am9lOmh1bnRlcjI= is hunter2\r\nX-Squid-Error: hunter2\r\n\r\n"), nil, 407,
			[]string{"407 [password] is [password] [[password]]"},
		},
		{
			"407 for NTLM only", "http://joe:hunter2@", say("HTTP/1.1 407 no\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n"), nil, 407,
			[]string{"does not take Basic authentication", "no_proxy"},
		},
		{
			"403 with Squid's reason", "http://", say("HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 3\r\n\r\nno!"), nil, 403,
			[]string{"403 Forbidden [ERR_ACCESS_DENIED 0]", "allow CONNECT", "no_proxy"},
		},
		{"502", "http://", say("HTTP/1.1 502 Bad Gateway\r\n\r\n"), nil, 502, []string{"502 Bad Gateway", "the proxy itself cannot reach the target"}},
		{"405 without a text", "http://", say("HTTP/1.1 405\r\n\r\n"), nil, 405, []string{"405 Method Not Allowed", "web server"}},
		{"a redirect", "http://", say("HTTP/1.1 302 Found\r\nLocation: http://login.example\r\n\r\n"), nil, 302, []string{"302 Found", "https_proxy"}},
		{"control characters in the status", "http://", say("HTTP/1.1 500 a\x1b[31mb\r\n\r\n"), nil, 500, []string{"500 a [31mb"}},
		{"closed without a word", "http://", hangUp(), nil, 0, []string{"closed the connection without an answer"}},
		{"closed in the middle", "http://", hangUp("HTTP/1.1 200 OK\r\nX: "), nil, 0, []string{"in the middle of its answer"}},
		{"not HTTP", "http://", hangUp("SSH-2.0-OpenSSH_9.2\r\n"), nil, 0, []string{"not HTTP", "check the scheme and the port"}},
		{"TLS where http:// was written", "http://", hangUp("\x15\x03\x01\x00\x02\x02\x16"), nil, 0, []string{"in TLS", "check the scheme"}},
		{"header without an end", "http://", say("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*answerLimit)), nil, 0, []string{"longer than 16384 bytes"}},
		{"interim answers without end", "http://", say(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50)), nil, 0, []string{"only interim answers"}},
		{"https:// to a plain proxy", "https://", nil, hangUp("HTTP/1.1 400 Bad Request\r\n\r\n"), 0, []string{"does not speak TLS", "http:// instead of https://"}},
		{"https:// with an expired certificate", "https://", nil, expired, 0, []string{"expired", "valid today"}},
		{"nothing listens", "http://joe:hunter2@" + closed, nil, nil, 0, []string{"cannot connect to the proxy", "refused", "https_proxy", "no_proxy"}},
		{"a scheme that is not supported", "socks4://joe:hunter2@" + closed, nil, nil, 0, []string{`"socks4"`, "socks5://"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a asked
			url := c.url
			switch {
			case c.answer != nil:
				url += serve(t, answering(&a, c.answer))
			case c.raw != nil:
				url += serve(t, c.raw)
			}
			d := through(t, url)
			d.variable = "https_proxy"
			d.RootCAs = pool
			conn, err := d.DialContext(t.Context(), "tcp", "broker.example:8883")
			var proxyErr *ProxyError
			if !errors.As(err, &proxyErr) {
				t.Fatalf("conn %v, err %v: no *ProxyError", conn, err)
			}
			if proxyErr.Status != c.wantStatus {
				t.Errorf("Status = %d, want %d", proxyErr.Status, c.wantStatus)
			}
			for _, w := range append(c.want, "(from https_proxy)", "broker.example:8883", "proxy "+proxyErr.Proxy) {
				if !strings.Contains(hint.Line(err), w) {
					t.Errorf("error and hint do not contain %q: %v", w, hint.Line(err))
				}
			}
			if s := hint.Line(err); strings.Contains(s, "hunter2") || strings.Contains(s, "joe") || strings.Contains(s, "am9l") {
				t.Errorf("credentials are shown: %v", err)
			}
			if s := hint.Line(err); strings.ContainsAny(s, "\r\n\x1b") || len(s) > 700 {
				t.Errorf("not one short line: %q", s)
			}
		})
	}
}

func TestASilentOrSlowProxyIsBoundedByTheContext(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	dribble := func(c net.Conn) { // a header byte each millisecond, for as long as the client listens
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
		}
	}
	reason := errors.New("shutting down")
	t.Run("a header that never ends", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := through(t, "http://"+serve(t, dribble)).DialContext(ctx, "tcp", "broker.example:8883")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
	})
	for _, scheme := range []string{"http://", "https://", "socks5://"} {
		t.Run(scheme+" deadline", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := through(t, scheme+serve(t, silent)).DialContext(ctx, "tcp", "broker.example:8883")
			var netErr net.Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &netErr) || !netErr.Timeout() {
				t.Errorf("err = %v", err)
			}
		})
		t.Run(scheme+" cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
			_, err := through(t, scheme+serve(t, silent)).DialContext(ctx, "tcp", "broker.example:8883")
			var proxyErr *ProxyError
			if !errors.Is(err, reason) || !errors.As(err, &proxyErr) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestAConnectionOutlivesTheContextThatOpenedIt(t *testing.T) {
	var a asked
	cert, pool := certificate(t, time.Now().Add(time.Hour))
	overTLS := func(c net.Conn) {
		answering(&a, say(established))(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}))
	}
	for _, c := range []struct {
		name, url string
	}{
		{"http proxy", "http://" + serve(t, answering(&a, say(established)))},
		{"https proxy", "https://" + serve(t, overTLS)},
		{"socks5 proxy", "socks5://" + serve(t, socksServer("", ""))},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			d := through(t, c.url)
			d.RootCAs = pool
			conn, err := d.DialContext(ctx, "tcp", "broker.example:8883")
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			echoes(t, conn)
		})
	}
}

// A device whose clock starts in 1970 knows a better time: without it, it could not reach even its NTP behind a proxy.
func TestTheProxysCertificateIsJudgedByTheGivenTime(t *testing.T) {
	var a asked
	cert, pool := certificate(t, time.Now().Add(-time.Minute))
	proxy := serve(t, func(c net.Conn) {
		answering(&a, say(established))(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}))
	})
	d := through(t, "https://"+proxy)
	d.RootCAs = pool
	tlsdial.SetExplain(func(err error) error { return hint.Wrap(err, "remove the stamp") })
	_, err := d.DialContext(t.Context(), "tcp", "broker.example:8883")
	tlsdial.SetExplain(func(err error) error { return err })
	if got := hint.Of(err); got != "remove the stamp" {
		t.Errorf("hint: %q", got)
	}
	d.Time = func() time.Time { return time.Now().Add(-30 * time.Minute) }
	conn, err := d.DialContext(t.Context(), "tcp", "broker.example:8883")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	echoes(t, conn)
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		established, established + "220 hello", "HTTP/1.1 100 Continue\r\n\r\n" + established, "HTTP/1.0 407 x\r\nProxy-Authenticate: Basic\r\n\r\n",
		"HTTP/1.1 200", "\x15\x03\x01", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.NewReader(data)
		got, err := readAnswer(in)
		if err != nil {
			if len(err.Error()) > 500 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			return
		}
		if got.status/100 == 1 {
			t.Errorf("an interim answer was taken for the final one")
		}
		rest, _ := io.ReadAll(in)
		if !bytes.HasSuffix(data, append(bytes.Clone(got.early), rest...)) {
			t.Errorf("bytes behind the answer got lost: %q + %q", got.early, rest)
		}
		_ = got.reason()
	})
}
