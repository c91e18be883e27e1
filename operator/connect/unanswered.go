package connect

import (
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// A call of OpenTunnel whose answer is lost may have opened a tunnel, which AWS charges for. Its token is lost with the answer,
// but a rotation makes another one. So the next search takes a tunnel that Culvert has opened since for this one's, instead of
// leaving it to the one who opened it.

// noteAnswer records what a call of OpenTunnel came to. listed are the thing's open tunnels before it; nil if they are not known.
func (f *finder) noteAnswer(listed []string, err error) {
	if err == nil {
		f.before = nil
		return
	}
	if f.before != nil || listed == nil || !mayHaveOpened(err) {
		return
	}
	f.before = make(map[string]bool, len(listed))
	for _, id := range listed {
		f.before[id] = true
	}
}

// isUnanswered reports whether a tunnel was opened by a call of this search whose answer was lost.
func (f *finder) isUnanswered(d *types.Tunnel) bool {
	if f.before == nil || f.before[aws.ToString(d.TunnelId)] || aws.ToString(d.Description) != openedBy {
		return false
	}
	at, connected := changed(d.SourceConnectionState)
	return !connected && !at.After(aws.ToTime(d.CreatedAt))
}

// mayHaveOpened reports whether a call of OpenTunnel that failed may have had an effect.
func mayHaveOpened(err error) bool {
	switch apiCode(err) {
	case "":
	case "UnknownError": // of a proxy on the path, which may have sent the call on
		return true
	default:
		return apiStatus(err) >= http.StatusInternalServerError
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	return isNetwork(err)
}

// isNetwork reports whether there was no answer, or not all of it.
func isNetwork(err error) bool {
	_, network := errors.AsType[net.Error](err)
	_, garbled := errors.AsType[*smithy.DeserializationError](err)
	return network || garbled || errors.Is(err, io.ErrUnexpectedEOF)
}
