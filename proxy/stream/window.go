package stream

import (
	"cmp"
	"time"
)

// window limits the bytes that are on their way to the service: enough to keep the path busy, and hardly more, so that
// data queues in this package, which can reorder it.
//
// Probes clock it: marks behind messages, which the service answers in order. An answer shows which bytes the service
// has taken, and how long that took. Its rule is that of FAST TCP (Wei, Jin, Low, Hegde: "FAST TCP: Motivation,
// Architecture, Algorithms, Performance", IEEE/ACM ToN 14(6), 2006): once a round trip the window moves half of the way
// to the size at which the round trip would be base + target,
//
//	w <- (w + w * (base + target) / rtt) / 2
//
// with rtt the shortest of the round, since jitter only adds (as in RFC 6817, section 4.1), and base the shortest that
// the path has shown lately. The target is a time and not a number of packets, as in LEDBAT (RFC 6817), so that a
// keystroke waits equally long on any path. The window starts by doubling (slow start), and takes larger steps while
// the path shows no queue at all.
//
// The window's own queue must not pass for the path indefinitely: every epoch the window shrinks for about a round
// trip, to somewhat less than the path holds, and base is measured anew (as in BBR's ProbeRTT and LEDBAT++'s periodic
// slowdown, but by a quarter or the target at most). A long round trip at the smallest window belongs to the path, or
// to the other direction: then it becomes base.
//
// The service need not answer. Without a first answer there is no window. When answers stop, or this side does not read
// them, the window does not apply until the next one. A window is not safe for concurrent use; times are the caller's,
// from any origin.
type window struct {
	size    int // bytes that may be on their way; 0 until the first answer
	sent    uint64
	taken   uint64 // known to have been taken by the service
	probed  uint64 // sent, when the latest probe left
	probes  [maxProbes]probe
	first   uint64 // number of the oldest probe that is not answered
	next    uint64 // number of the next probe
	starved bool   // answers have stopped

	base, epochBase time.Duration // shortest round trip: of this and the last epoch, of this epoch
	epoch           time.Duration // when this epoch began
	recent          [recentProbes]time.Duration
	samples         int           // of this round
	last            time.Duration // the last round's round trip
	round           uint64        // the round ends with the answer to this probe or a later one
	began           time.Duration // when this round began; it takes no less than the target
	settling        bool          // the round began with a new size: it shows the old one
	limited         bool          // in this round data waited for the window
	slowStart       bool
	calm            int // rounds in a row in which the window was the limit and there was no queue
	stuck           int // rounds in a row at the smallest window with a long round trip
	drain           drain

	held     bool          // this side reads no answers: a target must first take the bytes before them
	heldAt   time.Duration // since when
	heldOnce time.Duration // how long that lasted before, in all
}

// drain is a short time with a small window, to see the path without a queue.
type drain struct {
	size  int    // 0: none
	probe uint64 // the first one sent into the drained path; 0: not yet
}

type probe struct {
	offset uint64 // bytes sent before it
	at     time.Duration
	held   time.Duration // how long answers were not read until then, in all
}

const (
	// queueTarget is the part of a round trip that the window's own queue may add to the bare path.
	queueTarget = 15 * time.Millisecond
	// firstWindow is where slow start begins. minWindow is the least that remains. maxWindow is more than any path
	// holds: 25 Gbit/s at 20 ms.
	firstWindow, minWindow, maxWindow = 16 << 10, 4 << 10, 64 << 20
	// maxProbes bounds the probes on their way.
	maxProbes = 128
	// probesPerWindow is roughly the number of probes on their way when the window is full.
	probesPerWindow = 8
	// probeLeast and probeMost bound the bytes between two probes.
	probeLeast, probeMost = 2 << 10, 256 << 10
	// epochLength is how long a measured base counts. Then the window drains the queue.
	epochLength = 10 * time.Second
	// calmRounds without a queue make the steps larger, stuckRounds at the smallest window make a new base.
	calmRounds, stuckRounds = 2, 2
	// recentProbes is the number of round trips of which the shortest counts.
	recentProbes = 4
	// patience is how late an answer may be, beyond the usual round trip, before the window no longer applies.
	patience = 2 * time.Second
	// heldPatience is the same while this side does not read. It may be waiting for a target that itself waits until
	// this side sends, as an echo does.
	heldPatience = 2 * queueTarget
	// heldNoise is how long answers may stay unread without spoiling their round trip.
	heldNoise = time.Millisecond
)

// allowed is the window in force.
func (w *window) allowed() int {
	if w.drain.size > 0 {
		return w.drain.size
	}
	return w.size
}

// open reports whether there is no window: the service has not answered yet, or has stopped answering.
func (w *window) open() bool { return w.size == 0 || w.starved }

// room is how many bytes may be sent; zero or less means to wait for an answer.
func (w *window) room(now time.Duration) int {
	if w.open() {
		return maxWindow
	}
	if w.late(now) <= 0 {
		w.starved, w.drain = true, drain{}
		return maxWindow
	}
	return w.allowed() - w.flying()
}

// flying is how many bytes may not have been taken yet.
func (w *window) flying() int { return int(w.sent - w.taken) } //nolint:gosec // bounded by what the kernel holds

// piece is the size of one message, in bytes: a fraction of the window, so that the window opens in small steps. On a
// long path it is what the window carries in a fraction of the target, so that a message is no queue by itself.
func (w *window) piece() int {
	switch {
	case w.next == 0:
		return probeLeast // a first look at the path, before it is full
	case w.open():
		return maxWindow
	}
	n := w.allowed() / probesPerWindow
	if w.last > 0 {
		n = min(n, int(int64(w.size)*int64(queueTarget/4)/int64(w.last)))
	}
	return max(n, probeLeast)
}

// late is the time after which answers count as stopped.
func (w *window) late(now time.Duration) time.Duration {
	left := patience
	if w.first != w.next {
		left += w.probes[w.first%maxProbes].at + 2*w.last - now
	}
	if w.held {
		left = min(left, w.heldAt+heldPatience+w.last-now)
	}
	return left
}

// hold marks answers as unread from now on, until release.
func (w *window) hold(now time.Duration) { w.held, w.heldAt = true, now }

func (w *window) release(now time.Duration) { w.heldOnce, w.held = w.heldFor(now), false }

// heldFor is how long answers have stayed unread so far, in all.
func (w *window) heldFor(now time.Duration) time.Duration {
	if !w.held {
		return w.heldOnce
	}
	return w.heldOnce + now - w.heldAt
}

// sending counts a message of n bytes that is about to leave, and returns the number of the probe to send behind it; 0
// is none.
func (w *window) sending(now time.Duration, n int) uint64 {
	if w.next == 0 {
		w.first, w.next = 1, 1
	}
	drained := w.drain.size > 0 && w.flying() <= w.drain.size
	w.sent += uint64(n) //nolint:gosec // a length
	if !w.due(now) {
		return 0
	}
	if w.next-w.first == maxProbes {
		w.first++
	}
	number := w.next
	w.next++
	w.probes[number%maxProbes] = probe{offset: w.sent, at: now, held: w.heldFor(now)}
	w.probed = w.sent
	if drained && w.drain.probe == 0 {
		w.drain.probe = number
	}
	return number
}

// grace is how many bytes of connections that send little may be on their way beyond the window.
func (w *window) grace() int { return max(w.allowed()/4, minWindow) }

// deaf reports whether data waits for the window while no probe is on its way: then a probe must leave by itself, as a
// message of no bytes.
func (w *window) deaf(now time.Duration) bool { return w.first == w.next && w.room(now) <= 0 }

// due reports whether what was sent needs a probe.
func (w *window) due(now time.Duration) bool {
	if w.open() {
		return w.first == w.next || now-w.probes[(w.next-1)%maxProbes].at >= time.Second
	}
	if w.next-w.first == maxProbes {
		return false
	}
	since := int(w.sent - w.probed) //nolint:gosec // bounded by what the kernel holds
	return since >= min(w.piece(), probeMost) || w.flying() >= w.allowed()
}

// answered processes the answer to a probe. It ignores answers to probes that were never sent, or were answered before.
func (w *window) answered(now time.Duration, number uint64) {
	if number < w.first || number >= w.next {
		return
	}
	p := w.probes[number%maxProbes]
	sample := max(now-p.at, 1)
	progress := int(p.offset - w.taken) //nolint:gosec // bounded by what the kernel holds
	w.taken, w.first, w.starved = p.offset, number+1, false
	if w.size == 0 {
		w.size, w.slowStart = firstWindow, true
		w.base, w.epoch, w.round = sample, now, w.next
	}
	if w.heldFor(now)-p.held <= max(heldNoise, sample/8) { // else it shows a target's time, too
		w.base = min(w.base, sample)
		w.epochBase = shorter(w.epochBase, sample)
		w.recent[w.samples%recentProbes] = sample
		w.samples++
	}
	switch {
	case !w.slowStart || w.drain.size > 0:
	case w.samples >= recentProbes && w.rtt()-w.base > queueTarget/2:
		w.slowStart = false
	case w.limited:
		w.resize(w.size + progress)
	}
	if w.drain.probe != 0 && number >= w.drain.probe {
		w.drain = drain{}
		w.base, w.epochBase, w.epoch = cmp.Or(w.epochBase, w.base), 0, now // what was before this epoch is forgotten
		w.samples, w.round, w.settling = 0, w.next, true
	}
	if number >= w.round && (w.slowStart || now-w.began >= queueTarget) {
		w.endRound(now)
	}
}

// shorter is the shorter of two times, of which 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// rtt is the shortest of the last few round trips of this round.
func (w *window) rtt() (least time.Duration) {
	for _, r := range w.recent[:min(w.samples, recentProbes)] {
		least = shorter(least, r)
	}
	return least
}

func (w *window) resize(n int) { w.size = min(max(n, minWindow), maxWindow) }

// endRound adjusts the window, once a round trip.
func (w *window) endRound(now time.Duration) {
	rtt, limited, settling := w.rtt(), w.limited, w.settling
	if rtt == 0 {
		return // this round began just now
	}
	w.last, w.samples, w.round, w.settling, w.began = rtt, 0, w.next, false, now
	if w.drain.size > 0 || settling {
		return
	}
	w.limited = false
	queue, goal := rtt-w.base, int(float64(w.size)*float64(w.base+queueTarget)/float64(rtt))
	switch {
	case queue > queueTarget && (limited || 2*w.flying() > w.size):
		w.slowStart, w.calm = false, 0
		if w.size == minWindow {
			w.stuck++
		}
		w.resize((w.size + goal) / 2)
		w.settling = true
		if w.stuck >= stuckRounds {
			w.stuck, w.slowStart = 0, true
			w.base, w.epochBase, w.epoch = rtt, rtt, now
		}
		return
	case !limited:
		return
	case w.slowStart:
		if queue > queueTarget/2 {
			w.slowStart = false
		}
	case queue < queueTarget/4:
		if w.calm++; w.calm >= calmRounds {
			goal = max(goal, 2*w.size)
		}
		w.resize(min((w.size+goal)/2, 2*w.size))
		w.settling = true
	default:
		w.calm = 0
		w.resize((w.size + goal) / 2)
		w.settling = true
	}
	w.stuck = 0
	if now-w.epoch >= epochLength {
		empty := w.base - min(w.base/4, queueTarget)
		w.drain.size = max(int(float64(w.size)*float64(empty)/float64(rtt)), minWindow)
	}
}
