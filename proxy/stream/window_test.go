package stream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// path is a link with a queue, as far as a window can tell: it carries rate bytes a second, and an answer is back
// delay after its probe has left the queue.
type path struct {
	w      window
	rate   float64 // bytes a second
	delay  time.Duration
	jitter time.Duration
	mute   bool // probes are not answered

	now, free time.Duration // free: when the queue is empty
	answers   []answerAt
	carried   float64
	queues    []time.Duration // seen by each message
	noise     *rand.Rand
}

type answerAt struct {
	at     time.Duration
	number uint64
}

func newPath(rate float64, delay time.Duration) *path {
	return &path{rate: rate, delay: delay, noise: rand.New(rand.NewPCG(1, 2))}
}

// run lets an endless sender use the path for d.
func (p *path) run(d time.Duration) {
	p.queues, p.carried = p.queues[:0], 0
	const step = 100 * time.Microsecond
	for end := p.now + d; p.now < end; p.now += step {
		for len(p.answers) > 0 && p.answers[0].at <= p.now {
			p.w.answered(p.answers[0].at, p.answers[0].number)
			p.answers = p.answers[1:]
		}
		for p.w.room(p.now) > 0 || p.w.deaf(p.now) {
			if p.w.open() && p.free-p.now > 50*time.Millisecond {
				break // TCP's own limit
			}
			n := min(p.w.piece(), 128<<10)
			if p.w.deaf(p.now) {
				n = 0
			}
			p.send(n)
		}
		if p.w.room(p.now) <= 0 {
			p.w.limited = true
		}
		if p.free > p.now {
			p.carried += p.rate * step.Seconds()
		}
	}
}

func (p *path) send(n int) {
	number := p.w.sending(p.now, n)
	p.free = max(p.free, p.now) + time.Duration(float64(n)/p.rate*1e9)
	p.queues = append(p.queues, p.free-p.now)
	if number == 0 || p.mute {
		return
	}
	at := p.free + p.delay
	if p.jitter > 0 {
		at += time.Duration(p.noise.Int64N(int64(p.jitter)))
	}
	if k := len(p.answers); k > 0 {
		at = max(at, p.answers[k-1].at)
	}
	p.answers = append(p.answers, answerAt{at, number})
}

// worst is the longest that a message waited, but for the longest percent.
func (p *path) worst() time.Duration {
	s := append([]time.Duration(nil), p.queues...)
	return percentile(s, 99)
}

func (p *path) use(d time.Duration) float64 { return p.carried / (p.rate * d.Seconds()) }

func TestTheWindowFillsAPathAndKeepsItsQueueShort(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{800e3, 10e6, 100e6} {
		for _, delay := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond} {
			for _, jitter := range []time.Duration{0, 5 * time.Millisecond} {
				t.Run(fmt.Sprintf("%.0f kB/s, %v, jitter %v", rate/1e3, delay, jitter), func(t *testing.T) {
					p := newPath(rate, delay)
					p.jitter = jitter
					p.run(5 * time.Second)
					t.Logf("start: window %d, %.1f %% used, worst queue %v", p.w.size, 100*p.use(5*time.Second), p.worst())
					p.run(60 * time.Second)
					t.Logf("then: window %d, %.2f %% used, worst queue %v", p.w.size, 100*p.use(60*time.Second), p.worst())
					if use := p.use(60 * time.Second); use < 0.98 {
						t.Errorf("%.2f %% of the path used", 100*use)
					}
					if worst := p.worst(); worst > 5*queueTarget/2+jitter {
						t.Errorf("messages wait for %v", worst)
					}
				})
			}
		}
	}
}

func TestTheWindowFollowsThePath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(p *path)
	}{
		{"ten times slower", func(p *path) { p.rate /= 10 }},
		{"ten times faster", func(p *path) { p.rate *= 10 }},
		{"longer by 100 ms", func(p *path) { p.delay += 100 * time.Millisecond }},
		{"shorter by 15 ms", func(p *path) { p.delay -= 15 * time.Millisecond }},
	} {
		for _, rate := range []float64{800e3, 10e6} {
			t.Run(fmt.Sprintf("%s than %.0f kB/s and 20 ms", tt.name, rate/1e3), func(t *testing.T) {
				p := newPath(rate, 20*time.Millisecond)
				p.run(15 * time.Second)
				tt.change(p)
				p.run(5 * time.Second) // it learns that
				t.Logf("at first: window %d, %.1f %% used, worst queue %v", p.w.size, 100*p.use(5*time.Second), p.worst())
				p.run(30 * time.Second)
				use, worst := p.use(30*time.Second), p.worst()
				t.Logf("then: window %d, %.2f %% used, worst queue %v", p.w.size, 100*use, worst)
				if use < 0.97 || worst > 3*queueTarget+time.Duration(probeLeast/p.rate*2e9) {
					t.Errorf("%.2f %% used, messages wait for %v", 100*use, worst)
				}
			})
		}
	}
}

// A queue of the window's own that was there when it first looked is not taken for the path indefinitely.
func TestAStandingQueueDoesNotBecomeThePath(t *testing.T) {
	p := newPath(800e3, 50*time.Millisecond)
	p.run(5 * time.Second)
	p.w.base += 60 * time.Millisecond // as if it had been measured with a queue
	p.w.epochBase, p.w.size = p.w.base, p.w.size+60*800
	p.run(60 * time.Second)
	p.run(30 * time.Second)
	if worst := p.worst(); worst > 2*queueTarget {
		t.Errorf("messages wait for %v", worst)
	}
}

func TestWithoutAnswersThereIsNoWindow(t *testing.T) {
	p := newPath(800e3, 20*time.Millisecond)
	p.mute = true
	p.run(5 * time.Second)
	if p.w.size != 0 || p.w.room(p.now) != maxWindow || p.use(5*time.Second) < 0.98 {
		t.Errorf("window %d, %.1f %% used", p.w.size, 100*p.use(5*time.Second))
	}
	if n := p.w.next; n > 10 {
		t.Errorf("%d probes for nothing", n)
	}
}

func TestAWindowWhoseAnswersStopIsSetAside(t *testing.T) {
	p := newPath(800e3, 20*time.Millisecond)
	p.run(5 * time.Second)
	p.mute = true
	p.run(3 * time.Second)
	if !p.w.starved {
		t.Error("it is waited for")
	}
	p.run(5 * time.Second)
	if use := p.use(5 * time.Second); use < 0.98 {
		t.Errorf("%.1f %% used without it", 100*use)
	}
	p.mute = false
	p.run(5 * time.Second)
	p.run(5 * time.Second)
	if use, worst := p.use(5*time.Second), p.worst(); p.w.starved || use < 0.98 || worst > 2*queueTarget {
		t.Errorf("not as before: %.1f %% used, messages wait for %v", 100*use, worst)
	}
}

func TestAnswersToNothingAreIgnored(t *testing.T) {
	var w window
	w.answered(time.Second, 0)
	w.answered(time.Second, 1)
	n := w.sending(time.Second, 100)
	if n != 1 {
		t.Fatalf("the first message has probe %d", n)
	}
	w.answered(2*time.Second, 2)
	w.answered(2*time.Second, 1<<60)
	if w.size != 0 || w.flying() != 100 {
		t.Errorf("window %d, %d bytes on their way", w.size, w.flying())
	}
	w.answered(2*time.Second, 1)
	before := w
	w.answered(3*time.Second, 1)
	if w != before || w.flying() != 0 {
		t.Errorf("an answer counts twice: %d bytes on their way", w.flying())
	}
}

func TestALateAnswerIsOneToAllBefore(t *testing.T) {
	var w window
	w.answered(0, w.sending(0, 100))
	var last uint64
	for range 8 {
		last = max(last, w.sending(time.Millisecond, 10_000))
	}
	w.answered(2*time.Millisecond, last)
	if w.first != w.next || w.flying() >= 10_000 {
		t.Errorf("%d bytes on their way, probes %d to %d", w.flying(), w.first, w.next)
	}
}

// While this side does not read, the answers to probes wait. That time says nothing about the path.
func TestTimeWithoutAReaderIsNotThePaths(t *testing.T) {
	p := newPath(10e6, 20*time.Millisecond)
	p.run(8 * time.Second)
	size, base := p.w.size, p.w.base
	for range 50 {
		p.run(10 * time.Millisecond)
		p.hold(300 * time.Millisecond)
	}
	if p.w.size < size*3/4 || p.w.base > 2*base {
		t.Errorf("window and shortest round trip before: %d, %v; after: %d, %v", size, base, p.w.size, p.w.base)
	}
	p.run(time.Second)
	if use := p.use(time.Second); use < 0.95 {
		t.Errorf("uses %.2f of the path afterwards", use)
	}
}

// A sender that waits for the window must not wait for answers that this side does not read.
func TestTheWindowIsSetAsideWhileAnswersStayUnread(t *testing.T) {
	p := newPath(10e6, 20*time.Millisecond)
	p.run(5 * time.Second)
	if p.w.room(p.now) > 0 || p.w.late(p.now) < patience/2 {
		t.Fatalf("room for %d bytes, late in %v", p.w.room(p.now), p.w.late(p.now))
	}
	p.w.hold(p.now)
	left := p.w.late(p.now)
	if left < queueTarget || left > 100*time.Millisecond {
		t.Errorf("it waits for %v more, want somewhat more than a round trip", left)
	}
	if p.w.room(p.now+left-1) > 0 {
		t.Error("it is set aside too early")
	}
	if p.w.room(p.now+left) != maxWindow {
		t.Error("it is not set aside")
	}
	p.w.release(p.now + left)
	p.run(time.Second)
	if p.w.open() {
		t.Error("there is no window again")
	}
}

// hold leaves answers unread for d, and sends nothing.
func (p *path) hold(d time.Duration) {
	p.w.hold(p.now)
	p.now += d
	p.w.release(p.now)
	for i := range p.answers {
		p.answers[i].at = max(p.answers[i].at, p.now)
	}
}
