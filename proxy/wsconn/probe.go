package wsconn

import "strconv"

// maxProbe is the longest payload of a probe's ping: a zero and a decimal number.
const maxProbe = 21

// appendProbe appends a ping's payload for a probe. It is a decimal number, as in keep-alive pings, but
// begins with a zero, which those never do.
func appendProbe(b []byte, probe uint64) []byte { return strconv.AppendUint(append(b, '0'), probe, 10) }

// parseProbe returns the number of the probe that a pong answers, or 0 if it answers none.
func parseProbe(payload []byte) uint64 {
	if len(payload) < 2 || len(payload) >= maxProbe || payload[0] != '0' {
		return 0
	}
	var n uint64
	for _, b := range payload[1:] {
		if b < '0' || b > '9' {
			return 0
		}
		n = n*10 + uint64(b-'0')
	}
	return n
}
