package wsconn

import (
	"bufio"
	"context"
	"crypto/sha1" // RFC 6455 asks for it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	accessToken = "AQGAAXhExampleAccessToken_0123456789-abcdefghijklmnop"
	clientToken = "6f1c3d0e-9d0a-4f6e-8f57-0d7c3b6f2a11"
)

// testConfig is a valid configuration of a destination that reaches its service through dial.
func testConfig(dial func(ctx context.Context, network, address string) (net.Conn, error)) Config {
	return Config{
		Endpoint:    "ws://tunnel.example",
		Mode:        "destination",
		AccessToken: secret.New(accessToken),
		ClientToken: secret.New(clientToken),
		NetDial:     dial,
	}
}

// peer is the service's end of a connection, written without a websocket library so that it can
// break every rule.
type peer struct {
	net.Conn
	br   *bufio.Reader
	head string        // the request as it came, up to the empty line
	req  *http.Request // the same, parsed
}

func newPeer(conn net.Conn) *peer { return &peer{Conn: conn, br: bufio.NewReader(conn)} }

// readRequest reads the handshake's request.
func (p *peer) readRequest() error {
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := p.br.ReadString('\n')
		if err != nil {
			return err
		}
		head.WriteString(line)
	}
	p.head = head.String()
	var err error
	p.req, err = http.ReadRequest(bufio.NewReader(strings.NewReader(p.head)))
	return err
}

// upgrade is the answer that opens a websocket, with more header lines if wanted.
func (p *peer) upgrade(lines ...string) string {
	sum := sha1.Sum([]byte(p.req.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n" +
		strings.Join(append(lines, "", ""), "\r\n")
}

// accept answers the handshake as the service does.
func (p *peer) accept() error {
	if err := p.readRequest(); err != nil {
		return err
	}
	_, err := io.WriteString(p, p.upgrade("Sec-WebSocket-Protocol: "+SubprotocolV3, "channel-id: channel-1"))
	return err
}

type frame struct {
	Op      int
	Fin     bool
	Payload string
}

// readFrame reads one frame of the client, which must be masked (RFC 6455, section 5.2).
func (p *peer) readFrame() (frame, error) {
	var head [14]byte
	if _, err := io.ReadFull(p.br, head[:2]); err != nil {
		return frame{}, err
	}
	if head[1]&0x80 == 0 {
		return frame{}, errors.New("the client's frame is not masked")
	}
	size := uint64(head[1] & 0x7f)
	extended := map[uint64]int{126: 2, 127: 8}[size]
	rest := head[2 : 2+extended+4]
	if _, err := io.ReadFull(p.br, rest); err != nil {
		return frame{}, err
	}
	switch extended {
	case 2:
		size = uint64(binary.BigEndian.Uint16(rest))
	case 8:
		size = binary.BigEndian.Uint64(rest)
	}
	mask := rest[extended:]
	payload := make([]byte, size)
	if _, err := io.ReadFull(p.br, payload); err != nil {
		return frame{}, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return frame{Op: int(head[0] & 0x7f & 0xf), Fin: head[0]&0x80 != 0, Payload: string(payload)}, nil
}

// bytes is the frame as a server sends it: unmasked.
func (f frame) bytes() []byte {
	b := []byte{byte(f.Op), 0}
	if f.Fin {
		b[0] |= 0x80
	}
	switch n := len(f.Payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 65536:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, f.Payload...)
}

func (p *peer) send(op int, payload string) error {
	_, err := p.Write(frame{Op: op, Fin: true, Payload: payload}.bytes())
	return err
}

// closePayload is the payload of a close frame.
func closePayload(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// pipeDialer hands one end of a net.Pipe to serve, in a goroutine, and the other to the client.
func pipeDialer(serve func(*peer)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			serve(newPeer(server))
		}()
		return client, nil
	}
}

// open dials over net.Pipe. The service's end is closed when the test ends; change may alter the
// configuration.
func open(t *testing.T, change func(*Config)) (*Conn, *peer) {
	t.Helper()
	client, server := net.Pipe()
	p := newPeer(server)
	accepted := make(chan error, 1)
	go func() { accepted <- p.accept() }()
	cfg := testConfig(func(context.Context, string, string) (net.Conn, error) { return client, nil })
	if change != nil {
		change(&cfg)
	}
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	if err := <-accepted; err != nil {
		t.Fatalf("the service's side: %v", err)
	}
	t.Cleanup(func() {
		_ = server.Close()
		_ = c.Close(1000, "")
	})
	return c, p
}

// frames collects the client's frames until the connection ends.
func (p *peer) frames() <-chan frame {
	out := make(chan frame, 10000)
	go func() {
		defer close(out)
		for {
			f, err := p.readFrame()
			if err != nil {
				return
			}
			out <- f
		}
	}()
	return out
}
