package check

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/clean"
	"github.com/culvert-iot/culvert/services"
)

const (
	bannerLimit  = 2 * time.Second // for an SSH server to say who it is
	goodbyeLimit = time.Second     // for it to close
	bannerBytes  = 512             // RFC 4253, section 4.2, allows 255 to a line, and lines before it
)

// isSSH guesses from its name or port whether a service is an SSH server.
func isSSH(s services.Service) bool {
	_, port, _ := net.SplitHostPort(s.Address)
	return s.Network != "unix" && (port == "22" || strings.Contains(strings.ToUpper(s.Name), "SSH"))
}

// greet reads an SSH server's banner and takes its leave in order. A server that loses many connections
// before they log in may refuse the address: for sshd, every tunnel comes from this device.
func greet(conn net.Conn, target string) *Result {
	const id = "service"
	_ = conn.SetDeadline(time.Now().Add(bannerLimit))
	line, err := bufio.NewReader(io.LimitReader(conn, bannerBytes)).ReadString('\n')
	line = clean.Line(line, 80)
	switch {
	case strings.HasPrefix(line, "SSH-"):
		leave(conn)
		return well(id, "%s accepts connections: %s", target, line)
	case strings.HasPrefix(line, "Not allowed at this time"), strings.HasPrefix(line, "Exceeded MaxStartups"):
		return failed(id, "wait some minutes, and add PerSourcePenaltyExemptList 127.0.0.1,::1 to sshd_config: for sshd, all users of tunnels come from this device",
			"%s refuses this device for now: %s", target, line)
	case line != "":
		return warning(id, "correct the target, if this service is meant to be SSH", "%s accepts connections, but is not an SSH server: it sends %q", target, line)
	case err == io.EOF:
		return warning(id, "see the log of sshd: it may have too many connections, or refuse this device's own address", "%s accepts connections and closes them at once", target)
	}
	return warning(id, "correct the target, if this service is meant to be SSH", "%s accepts connections, and sends no SSH banner within %v", target, bannerLimit)
}

// leave ends a connection to an SSH server by SSH_MSG_DISCONNECT (RFC 4253, section 11.1), before any
// key exchange.
func leave(conn net.Conn) {
	const (
		disconnect    = 1
		byApplication = 11
		text          = "culvertd check"
		block         = 8 // without a cipher
		least         = 4 // padding
	)
	payload := binary.BigEndian.AppendUint32([]byte{disconnect}, byApplication)
	payload = append(binary.BigEndian.AppendUint32(payload, uint32(len(text))), text...)
	payload = binary.BigEndian.AppendUint32(payload, 0) // no language
	padding := block - (5+len(payload))%block
	if padding < least {
		padding += block
	}
	packet := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding)) //nolint:gosec // a packet is small
	packet = append(append(append(packet, byte(padding)), payload...), make([]byte, padding)...)
	_ = conn.SetDeadline(time.Now().Add(goodbyeLimit))
	if _, err := fmt.Fprintf(conn, "SSH-2.0-culvertd_check\r\n%s", packet); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn) // until it closes
}
