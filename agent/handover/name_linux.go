package handover

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Names in the store are culvert-state-TAG and culvert-socket-TAG-NUMBER. What is put together has one tag, so that
// rests of another hand-over are not taken for it. The first versions of culvertd had no tag, which counts as 0.
const (
	prefix     = "culvert-"
	stateName  = prefix + "state"
	socketName = prefix + "socket"

	// maxNumber bounds a socket's number: more than any unit keeps.
	maxNumber = 1 << 16
)

func nameOfState(tag uint64) string { return stateName + "-" + strconv.FormatUint(tag, 10) }

func nameOfSocket(tag uint64, number int) string {
	return socketName + "-" + strconv.FormatUint(tag, 10) + "-" + strconv.Itoa(number)
}

// newTag returns a tag that is greater than all earlier ones of this boot, which is as long as a store lasts.
func newTag() (uint64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return uint64(now.Nano()), nil //nolint:gosec // it counts from 0
}

type kind uint8

const (
	isForeign kind = iota // not ours, or not understood
	isState
	isSocket
)

// label is what a name says.
type label struct {
	kind   kind
	tag    uint64
	number int
}

func parse(name string) label {
	rest, ok := strings.CutPrefix(name, prefix)
	words := strings.Split(rest, "-")
	var numbers []uint64
	for _, w := range words[1:] {
		n, err := strconv.ParseUint(w, 10, 64)
		ok = ok && err == nil
		numbers = append(numbers, n)
	}
	l := label{}
	switch {
	case !ok:
		return l
	case words[0] == "state" && len(numbers) == 0:
		l.kind = isState
	case words[0] == "state" && len(numbers) == 1:
		l.kind, l.tag = isState, numbers[0]
	case words[0] == "socket" && len(numbers) == 1 && numbers[0] < maxNumber:
		l.kind, l.number = isSocket, int(numbers[0]) //nolint:gosec // it is small
	case words[0] == "socket" && len(numbers) == 2 && numbers[1] < maxNumber:
		l.kind, l.tag, l.number = isSocket, numbers[0], int(numbers[1]) //nolint:gosec // it is small
	}
	return l
}
