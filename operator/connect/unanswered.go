package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// A call of OpenTunnel whose answer is lost may have opened a tunnel, which AWS charges for. Its token is lost with the answer,
// but a rotation makes another one. So the next search takes a tunnel that Culvert has opened since for this one's, instead of
// leaving it to the one who opened it. Where no search follows, or it appears too late for them, such a tunnel is closed.

// noteLost records that the answer to a call of OpenTunnel was lost.
func (f *finder) noteLost() {
	if f.before == nil {
		if f.listed == nil {
			f.tellUnanswered()
			return
		}
		f.before = make(map[string]bool, len(f.listed))
	}
	for _, id := range f.listed { // the search would have taken the tunnel of an earlier call for this one's
		f.before[id] = true
	}
	f.unseen++
	f.lost = time.Now().Round(0) // without the monotonic clock's reading: see open
}

// seen records a tunnel whose opening was not answered. The others are still looked for.
func (f *finder) seen(id string) {
	f.charged(id)
	if f.unseen--; f.unseen <= 0 {
		f.before, f.unseen = nil, 0
	}
}

func (f *finder) tellUnanswered() {
	f.notice("OpenTunnel was not answered: if AWS has opened a tunnel to %s, culvert list-tunnels shows it", f.thing)
}

// tryList is list for a caller who can do without: nil if there is no answer, or none within lookUpTime.
func (f *finder) tryList(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	list, err := f.list(ctx)
	if err != nil {
		f.Logger.Debug("tunnels not listed", "error", err)
		return nil
	}
	return list
}

// isUnanswered reports whether a tunnel was opened by a call of this search whose answer was lost. The clocks may differ by as
// much as AWS lets a signature's.
func (f *finder) isUnanswered(d *types.Tunnel) bool {
	created := aws.ToTime(d.CreatedAt)
	if f.before == nil || f.before[aws.ToString(d.TunnelId)] || aws.ToString(d.Description) != openedBy || created.After(f.lost.Add(signatureSkew)) {
		return false
	}
	at, connected := changed(d.SourceConnectionState)
	return !connected && !at.After(created)
}

// signatureSkew is how much AWS lets the clocks of a signature and of a service differ.
const signatureSkew = 5 * time.Minute

// closeUnanswered closes the tunnels whose opening was not answered, within closeTimeout. It says so if it cannot look for them,
// or if there is none yet although one is late.
func (f *finder) closeUnanswered(late bool) {
	if f.before == nil {
		return
	}
	defer func() { f.before, f.unseen = nil, 0 }()
	if f.Keep {
		f.tellUnanswered()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	list, err := f.list(ctx)
	list = slices.DeleteFunc(list, func(id string) bool { return f.before[id] })
	closed := false
	for _, id := range list[:min(len(list), maxCandidates)] {
		d, failed := f.describe(ctx, id)
		switch {
		case isGone(failed):
		case failed != nil:
			err = failed
		case f.isUnanswered(d):
			closed = true
			f.charged(id)
			f.closeNow(ctx, id)
		}
	}
	if err != nil || late && !closed {
		f.tellUnanswered()
	}
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
