package broker

import (
	"bytes"
	"fmt"
	"time"
)

// maxRetained is AWS IoT's default quota of retained messages in an account.
const maxRetained = 5000

// Retained is the retained message of a topic.
type Retained struct {
	Payload []byte
	QoS     byte
	At      time.Time // when the client published it
}

// Retained returns the retained message of a topic. It reports false if there is none. Subscribers do not get it: only
// the data plane uses it.
func (b *Broker) Retained(topic string) (Retained, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.retained[topic]
	return r, ok
}

// retain keeps a message; an empty one removes the kept one. It returns why the broker must drop the publisher, or "".
func (b *Broker) retain(topic string, payload []byte, qos byte) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, replaces := b.retained[topic]
	switch {
	case len(payload) == 0:
		delete(b.retained, topic)
	case !replaces && len(b.retained) >= maxRetained:
		return fmt.Sprintf("more than %d retained messages", maxRetained)
	default:
		b.retained[topic] = Retained{bytes.Clone(payload), qos, time.Now()}
	}
	return ""
}
