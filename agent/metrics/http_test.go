package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRequestsAreReadAsHTTPSays(t *testing.T) {
	const host = "\r\nHost: h\r\n\r\n"
	for _, tt := range []struct {
		name, head   string
		method, path string
		status       int
	}{
		{"a GET", "GET /metrics HTTP/1.1" + host, "GET", "/metrics", 0},
		{"a HEAD", "HEAD /healthz HTTP/1.1" + host, "HEAD", "/healthz", 0},
		{"an old version needs no host", "GET /metrics HTTP/1.0\r\n\r\n", "GET", "/metrics", 0},
		{"lone line feeds", "GET /metrics HTTP/1.1\nHost: h\n\n", "GET", "/metrics", 0},
		{"a query", "GET /metrics?name=x HTTP/1.1" + host, "GET", "/metrics", 0},
		{"a whole URL", "GET http://h:9273/metrics?x HTTP/1.1" + host, "GET", "/metrics", 0},
		{"a whole URL without a path", "GET http://h HTTP/1.1" + host, "GET", "/", 0},
		{"no host", "GET /metrics HTTP/1.1\r\n\r\n", "GET", "", statusBad},
		{"two hosts", "GET /metrics HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", "GET", "", statusBad},
		{"a folded header", "GET /metrics HTTP/1.1\r\nHost: h\r\n x\r\n\r\n", "GET", "", statusBad},
		{"a header without a name", "GET /metrics HTTP/1.1\r\n: h\r\n\r\n", "GET", "", statusBad},
		{"a POST", "POST /metrics HTTP/1.1" + host, "POST", "", statusMethod},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\n", "PRI", "", statusVersion},
		{"another protocol", "GET /metrics GOPHER/1" + host, "GET", "", statusBad},
		{"a control character in the path", "GET /met\x01rics HTTP/1.1" + host, "GET", "", statusBad},
		{"no path", "GET metrics HTTP/1.1" + host, "GET", "", statusBad},
		{"two words", "GET /metrics" + host, "", "", statusBad},
		{"nothing", "\r\n", "", "", statusBad},
		{"TLS", "\x16\x03\x01\x02\n\n", "", "", statusBad},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method, path, status := parse([]byte(tt.head), nil)
			if method != tt.method || path != tt.path || status != tt.status {
				t.Errorf("%q %q %d, want %q %q %d", method, path, status, tt.method, tt.path, tt.status)
			}
		})
	}
}

func TestAHeadIsReadHoweverItIsCut(t *testing.T) {
	const head = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"
	long := "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxHead)
	for _, tt := range []struct {
		name string
		from io.Reader
		want string
		err  error
	}{
		{"at once, with more behind it", strings.NewReader(head + "body"), head, nil},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(head)), head, nil},
		{"the end with the last byte", iotest.DataErrReader(strings.NewReader(head)), head, nil},
		{"of 3 KiB", iotest.HalfReader(strings.NewReader("A" + strings.Repeat("x", 3000) + "\r\n\r\n")), "A" + strings.Repeat("x", 3000) + "\r\n\r\n", nil},
		{"cut off", strings.NewReader(head[:20]), "", io.EOF},
		{"without end", strings.NewReader(long), "", errTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readHead(tt.from)
			if string(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestTheHostOfAWholeURLCounts(t *testing.T) {
	ours := loopbackHost("metrics.internal:9273")
	for head, want := range map[string]int{
		"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n": statusForbidden,
		"GET http://evil.example?x HTTP/1.1\r\nHost: localhost\r\n\r\n":       statusForbidden,
		"GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n":    0,
		"GET /metrics HTTP/1.1\r\nHost: metrics.internal:9273\r\n\r\n":        0,
		"GET /metrics HTTP/1.0\r\n\r\n":                                       0,
	} {
		if _, _, status := parse([]byte(head), ours); status != want {
			t.Errorf("%q: %d, want %d", head, status, want)
		}
	}
}

// FuzzParse: what is taken for a request is one to net/http too, of the same method and path.
func FuzzParse(f *testing.F) {
	f.Add([]byte("GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\n\r\n"))
	f.Add([]byte("HEAD http://h/healthz?x HTTP/1.0\n\n"))
	f.Add([]byte("GET * HTTP/1.1\r\nHost:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		head, err := readHead(iotest.HalfReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		method, path, status := parse(head, nil)
		if status != 0 {
			if phrases[status] == "" {
				t.Errorf("status %d has no words", status)
			}
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
		if err != nil {
			// net/http looks into more than is needed here: the syntax of the host, of escapes in the path, of values.
			if strings.Contains(err.Error(), "Host") || strings.Contains(err.Error(), "parse") || strings.Contains(err.Error(), "header") || strings.Contains(err.Error(), "Transfer-Encoding") || strings.Contains(err.Error(), "Content-Length") || strings.Contains(err.Error(), "transfer encoding") {
				return
			}
			t.Fatalf("net/http refuses %q: %v", head, err)
		}
		if r.Method != method {
			t.Errorf("method %q, net/http says %q", method, r.Method)
		}
		// The path is compared as it is meant: net/http writes the escapes of some characters anew.
		if got, err := url.PathUnescape(path); (err != nil || got != r.URL.Path) && r.URL.Path != "" && !strings.Contains(r.RequestURI, "#") && strings.HasPrefix(r.RequestURI, "/") && !strings.HasPrefix(r.RequestURI, "//") {
			t.Errorf("path %q is %q, %v; net/http says %q", path, got, err, r.URL.Path)
		}
	})
}
