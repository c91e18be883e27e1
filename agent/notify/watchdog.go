package notify

import (
	"sync"
	"time"
)

// stepLimit is longer than any step of the client's loops may take: to dial, to shake hands, to subscribe, to wait
// before the next attempt (60 s at most), to write a token to a slow card. Each has a limit of its own; this one
// is for the case that such a limit does not hold, where only a new start of the program helps.
const stepLimit = 3 * time.Minute

// watchdog is how a loop shows that it is alive: it says when it begins a step that must end, and when it
// waits for something that may never come.
type watchdog struct {
	mu   sync.Mutex
	step string    // "" while it waits
	due  time.Time // when the step must have ended
}

// begin notes a step that ends within stepLimit.
func (p *watchdog) begin(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.due = step, time.Now().Add(stepLimit)
}

// wait notes that nothing is under way.
func (p *watchdog) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step = ""
}

// stuck returns the step that should have ended, or "".
func (p *watchdog) stuck() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step == "" || time.Now().Before(p.due) {
		return ""
	}
	return p.step
}

// Stuck names what the client has been at for so long that it will not come back, or returns "". It is for a watchdog;
// it may be called at any time.
func (c *Client) Stuck() string {
	if step := c.watchdog.stuck(); step != "" {
		return step
	}
	return c.inbox.watchdog.stuck()
}
