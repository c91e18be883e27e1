package localproxy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func refusal(status int, body string) error {
	return fmt.Errorf("connect: %w", &proxy.HandshakeError{Status: status, Body: body})
}

func TestWhatFollowsAnEnd(t *testing.T) {
	type end struct {
		err   error
		stood time.Duration
	}
	broken := errors.New("connection reset by peer")
	worked := end{broken, time.Minute}
	closed := end{&proxy.CloseError{Code: 1000}, time.Minute}
	waits := func(e end) []end { return []end{worked, e, e, e} } // three slow tries
	tests := []struct {
		name   string
		policy policy
		before []end // each is followed by another attempt
		last   end
		want   string // "again", "closed", "rejected" or a part of the error
	}{
		{"a first refusal is final", policy{}, nil, end{refusal(400, ""), 0}, "rejected"},
		{"even if the tunnel is closed", policy{}, nil, end{refusal(400, "The tunnel is closed."), 0}, "rejected"},
		{"any 4xx is", policy{}, nil, end{refusal(404, ""), 0}, "rejected"},
		{"but not the page of an inspecting proxy", policy{}, nil, end{refusal(403, "<html><body>Blocked"), 0}, "again"},
		{"but for 429", policy{}, nil, end{refusal(429, ""), 0}, "again"},
		{"a 5xx is not", policy{}, nil, end{refusal(503, ""), 0}, "again"},
		{"a lost network is not", policy{}, nil, end{broken, 0}, "again"},
		{"a connection that was lost", policy{}, nil, worked, "again"},
		{"one that the service closed", policy{}, nil, closed, "again"},
		{"closed, then refused with the reason", policy{}, []end{closed}, end{refusal(400, "The tunnel is closed."), 0}, "closed"},
		{"lost, then refused with the reason", policy{}, []end{worked}, end{refusal(400, "The access token has expired."), 0}, "closed"},
		{"closed, then refused without a word", policy{}, []end{closed}, end{refusal(403, ""), 0}, "closed"},
		{"closed, then refused because of the token", policy{}, []end{closed}, end{refusal(400, "The access token was revoked."), 0}, "rejected"},
		{"closed, then refused for another reason", policy{}, []end{closed}, end{refusal(400, "Invalid client token."), 0}, "rejected"},
		{"lost, then refused: the service may hold the dead connection", policy{}, []end{worked}, end{refusal(400, "connected already"), 0}, "again"},
		{"and once more", policy{}, waits(end{refusal(400, ""), 0})[:3], end{refusal(400, ""), 0}, "again"},
		{"but not indefinitely", policy{}, waits(end{refusal(400, ""), 0}), end{refusal(400, ""), 0}, "rejected"},
		{"tries are counted in a row", policy{}, append(waits(end{refusal(400, ""), 0}), worked), end{refusal(400, ""), 0}, "again"},
		{"a limit of failed connects", policy{retries: 2}, []end{{broken, 0}, {broken, 0}}, end{broken, 0}, "given up after 3"},
		{"which is of those in a row", policy{retries: 2}, []end{{broken, 0}, {broken, 0}, worked}, end{broken, 0}, "again"},
		{"no connection after another, if the settings say so", policy{reconnect: true}, nil, worked, "the settings forbid"},
		{"but a close is judged", policy{reconnect: true}, []end{closed}, end{refusal(400, "closed"), 0}, "closed"},
		{"an unknown certificate at first", policy{}, nil, end{x509.UnknownAuthorityError{}, 0}, "-c"},
		{"an unknown certificate later", policy{}, []end{worked}, end{x509.UnknownAuthorityError{}, 0}, "again"},
		{"a web proxy that wants a password", policy{}, nil, end{&netdial.ProxyError{Status: 407}, 0}, "https_proxy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.policy
			if p.retries == 0 {
				p.retries = -1
			}
			p.reconnect = !p.reconnect // so that the table names what is unusual
			for i, e := range tt.before {
				if _, err := p.next(e.err, e.stood); err != nil {
					t.Fatalf("end %d: %v", i, err)
				}
			}
			delay, err := p.next(tt.last.err, tt.last.stood)
			rejected, isRejected := errors.AsType[*RejectedError](err)
			switch tt.want {
			case "again":
				if err != nil || delay <= 0 || delay > time.Minute {
					t.Errorf("delay %v, error %v", delay, err)
				}
			case "closed":
				if !errors.Is(err, errClosed) {
					t.Errorf("error %v, want that the tunnel was closed", err)
				}
			case "rejected":
				if !isRejected || !strings.Contains(hint.Of(rejected), "rotate") {
					t.Errorf("error %v, want that the token was rejected, and what to do", err)
				}
			default:
				if err == nil || !strings.Contains(hint.Line(err), tt.want) {
					t.Errorf("error %v, want one that says %q", err, tt.want)
				}
			}
		})
	}
}

func TestLogLines(t *testing.T) {
	var out strings.Builder
	j := &journal{level: levelInfo, w: &out}
	j.printf(levelInfo, "Listening for new connection on port %d", 5555)
	j.printf(levelDebug, "not this")
	j.logger().With("session", "1").Warn("connection refused", "service", "SSH", "error", errors.New("no one"))
	j.logger().Debug("nor this")
	j.logger().Log(t.Context(), slog.LevelError, "bare")
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{
		"[info]    Listening for new connection on port 5555",
		`[warning] connection refused session=1 service=SSH error="no one"`,
		"[error]   bare", "",
	} {
		if _, got, _ := strings.Cut(lines[i], "}"); got != want {
			t.Errorf("line %d: %q, want %q", i, got, want)
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d lines: %q", len(lines)-1, lines)
	}
}

// The words of a network attacker's certificate are in errors that are logged.
func TestLogLinesCannotSteerATerminal(t *testing.T) {
	var out strings.Builder
	j := &journal{level: levelInfo, w: &out}
	j.printf(levelWarning, "certificate is valid for \x1b]0;owned\a\u202e%s", "\x1b[2J")
	if strings.ContainsAny(strings.TrimSuffix(out.String(), "\n"), "\x1b\a\u202e\n") {
		t.Errorf("%q", out.String())
	}
}
