package metrics

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
)

const (
	// maxHead bounds request line and header fields together. Prometheus sends some 300 bytes.
	maxHead = 8 << 10
	// maxRest is how much of what follows a request is thrown away before the connection is closed.
	maxRest = 64 << 10

	statusOK          = 200
	statusBad         = 400
	statusForbidden   = 403
	statusNotFound    = 404
	statusMethod      = 405
	statusTooLong     = 431
	statusUnavailable = 503
	statusVersion     = 505
)

// phrases are those of RFC 9110, section 15.
var phrases = map[int]string{
	statusOK: "OK", statusBad: "Bad Request", statusForbidden: "Forbidden", statusNotFound: "Not Found", statusMethod: "Method Not Allowed",
	statusTooLong: "Request Header Fields Too Large", statusUnavailable: "Service Unavailable",
	statusVersion: "HTTP Version Not Supported",
}

var errTooLong = errors.New("request header is too long")

// readHead reads up to the empty line that ends a request's header (RFC 9112, section 2.1).
func readHead(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, 1<<10)
	for {
		if end := headEnd(buf); end >= 0 {
			return buf[:end], nil
		}
		if len(buf) == maxHead {
			return nil, errTooLong
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(4*cap(buf), maxHead)), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil && headEnd(buf) < 0 {
			return nil, err
		}
	}
}

// headEnd finds the end of the empty line, or returns -1. A lone LF ends a line too (RFC 9112, section 2.2).
func headEnd(buf []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(buf[at:], '\n')
		if i < 0 {
			return -1
		}
		line := bytes.TrimSuffix(buf[at:at+i], []byte("\r"))
		at += i + 1
		if len(line) == 0 {
			return at
		}
	}
}

// parse reads a request's header. status is 0 if it is a GET or HEAD of path, for a host that ours accepts,
// else what to answer. A nil ours accepts all.
func parse(head []byte, ours func(host string) bool) (method, path string, status int) {
	line, rest, _ := strings.Cut(string(head), "\n")
	parts := strings.Split(strings.TrimSuffix(line, "\r"), " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[1] == "" {
		return "", "", statusBad
	}
	method, target, version := parts[0], parts[1], parts[2]
	switch {
	case version != "HTTP/1.1" && version != "HTTP/1.0":
		if strings.HasPrefix(version, "HTTP/") {
			return method, "", statusVersion
		}
		return method, "", statusBad
	case strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return method, "", statusBad
	}
	hosts, host := 0, ""
	for field := range strings.Lines(rest) {
		field = strings.TrimRight(field, "\r\n")
		if field == "" {
			continue
		}
		name, value, colon := strings.Cut(field, ":")
		if !colon || !isToken(name) || strings.ContainsAny(value, "\r\x00") { // folded lines are obsolete (RFC 9112, section 5.2)
			return method, "", statusBad
		}
		if strings.EqualFold(name, "Host") {
			hosts++
			host = strings.TrimSpace(value)
		}
	}
	if hosts > 1 || hosts == 0 && version == "HTTP/1.1" { // RFC 9112, section 3.2
		return method, "", statusBad
	}
	// Clients of a proxy send the whole URL, which a server must accept (RFC 9112, section 3.2.2).
	if _, after, ok := strings.Cut(target, "://"); ok && !strings.HasPrefix(target, "/") {
		host, _, _ = strings.Cut(after, "/") // it counts, not the field (section 3.2.2)
		host, _, _ = strings.Cut(host, "?")
		if slash := strings.IndexAny(after, "/?"); slash >= 0 {
			target = after[slash:]
		} else {
			target = "/"
		}
	}
	path, _, _ = strings.Cut(target, "?")
	switch {
	case ours != nil && !ours(host):
		return method, "", statusForbidden
	case method != "GET" && method != "HEAD":
		return method, "", statusMethod
	case !strings.HasPrefix(path, "/"):
		return method, "", statusBad
	}
	return method, path, 0
}

// isToken knows what a method or the name of a header field may consist of (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// loopbackHost returns what accepts the Host of a request to a server that listens on address: an address of
// this machine's loopback, "localhost", or the address itself. A page in a browser on this machine can have
// any other name lead to loopback (DNS rebinding), and would read the metrics.
func loopbackHost(address string) func(host string) bool {
	listen := hostname(address)
	return func(host string) bool {
		if host == "" { // HTTP/1.0; a browser always sends one
			return true
		}
		name := strings.TrimSuffix(strings.ToLower(hostname(host)), ".")
		ip := net.ParseIP(name)
		return name == "localhost" || name == listen || ip != nil && ip.IsLoopback()
	}
}

// hostname drops the port and the brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// Response is an answer. Without a body it has its status in words.
type Response struct {
	Status int
	Type   string // of the body; "" is plain text
	Body   []byte
}

// NotFound is the answer where nothing is.
func NotFound() Response { return Response{Status: statusNotFound} }

// Health is the answer of a check: 200, or 503 where text says what is wrong.
func Health(well bool, text string) Response {
	r := Response{Status: statusUnavailable, Body: []byte(text + "\n")}
	if well {
		r.Status = statusOK
	}
	return r
}

// append writes the answer. The connection is closed after it, so that it frees its place.
func (r Response) append(to []byte, body bool) []byte {
	content := r.Body
	if len(content) == 0 {
		content = []byte(phrases[r.Status] + "\n")
	}
	kind := r.Type
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	to = append(to, "HTTP/1.1 "+strconv.Itoa(r.Status)+" "+phrases[r.Status]+"\r\n"...)
	if r.Status == statusMethod {
		to = append(to, "Allow: GET, HEAD\r\n"...)
	}
	to = append(to, "Content-Type: "+kind+"\r\nContent-Length: "+strconv.Itoa(len(content))+
		"\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"...)
	if body {
		to = append(to, content...)
	}
	return to
}

// discard reads what the other side still sends, until it closes its end or that is too much or takes too long.
func discard(r io.Reader) {
	_, _ = io.CopyN(io.Discard, r, maxRest)
}
