package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/sandbox/broker"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// Notifications is how the news of a token travels to its thing. The zero value: once, at once, at QoS 1.
type Notifications struct {
	// QoS0 publishes at QoS 0: a device that is away never gets it, whatever its session.
	QoS0 bool
	// Delay is waited before it is published. Later news may then overtake earlier, if Delay is changed between.
	Delay time.Duration
	// Repeat publishes it a second time, RepeatAfter later and as a message of its own.
	Repeat      bool
	RepeatAfter time.Duration
	// Lose forgets the next so many.
	Lose int
}

// notificationsJSON is Notifications with durations as Go strings.
type notificationsJSON struct {
	QoS0, Repeat       bool
	Delay, RepeatAfter string
	Lose               int
}

// MarshalJSON writes durations as Go strings.
func (n Notifications) MarshalJSON() ([]byte, error) {
	return json.Marshal(notificationsJSON{n.QoS0, n.Repeat, n.Delay.String(), n.RepeatAfter.String(), n.Lose})
}

// UnmarshalJSON changes what is there; members that are left out stay.
func (n *Notifications) UnmarshalJSON(b []byte) error {
	in := notificationsJSON{n.QoS0, n.Repeat, n.Delay.String(), n.RepeatAfter.String(), n.Lose}
	if err := decode(b, &in); err != nil {
		return err
	}
	delay, err1 := time.ParseDuration(in.Delay)
	after, err2 := time.ParseDuration(in.RepeatAfter)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if delay < 0 || after < 0 || in.Lose < 0 {
		return errors.New("notification settings Delay, RepeatAfter and Lose cannot be negative")
	}
	*n = Notifications{QoS0: in.QoS0, Delay: delay, Repeat: in.Repeat, RepeatAfter: after, Lose: in.Lose}
	return nil
}

// Notice is a notification that was published.
type Notice struct {
	At       time.Time       `json:"at"`
	Thing    string          `json:"thing"`
	Services []string        `json:"services"`
	Token    string          `json:"token"` // the first 8 hex digits of its SHA-256
	QoS      byte            `json:"qos"`
	Delivery broker.Delivery `json:"delivery"`
	Lost     bool            `json:"lost,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// maxNotices bounds what is remembered for the admin endpoint.
const maxNotices = 100

// notifier publishes what the store tells.
type notifier struct {
	publish func(topic string, payload []byte, qos byte) (broker.Delivery, error)
	log     *slog.Logger
	ctx     context.Context //nolint:containedctx // ends what is delayed
	cancel  context.CancelFunc

	mu     sync.Mutex
	how    Notifications
	recent []Notice
	closed bool
	tasks  sync.WaitGroup
}

func newNotifier(publish func(string, []byte, byte) (broker.Delivery, error), how Notifications, log *slog.Logger) *notifier {
	n := &notifier{publish: publish, how: how, log: log}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

func (n *notifier) set(how Notifications) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.how = how
}

func (n *notifier) current() Notifications {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.how
}

func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	n.tasks.Wait()
}

// notify publishes one notification, at once if there is no delay.
func (n *notifier) notify(thing string, news tunnels.Notify) {
	n.mu.Lock()
	how := n.how
	lost := how.Lose > 0
	if lost {
		n.how.Lose--
	}
	n.mu.Unlock()
	send := func() { n.send(thing, news, how) }
	switch {
	case lost:
		n.note(Notice{At: time.Now(), Thing: thing, Services: news.Services, Token: secret.New(news.ClientAccessToken).ID(), Lost: true})
		return
	case how.Delay > 0:
		n.later(how.Delay, send)
	default:
		send()
	}
	if how.Repeat {
		n.later(how.Delay+how.RepeatAfter, send)
	}
}

// later runs f after a while, unless the notifier is closed.
func (n *notifier) later(d time.Duration, f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.tasks.Go(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			f()
		case <-n.ctx.Done():
		}
	})
}

func (n *notifier) send(thing string, news tunnels.Notify, how Notifications) {
	// The four members that the SDKs' model of the notification has, and no more.
	payload, err := json.Marshal(struct {
		ClientAccessToken string   `json:"clientAccessToken"`
		ClientMode        string   `json:"clientMode"`
		Region            string   `json:"region"`
		Services          []string `json:"services"`
	}{news.ClientAccessToken, "destination", news.Region, news.Services})
	if err != nil {
		panic("strings do not encode: " + err.Error())
	}
	notice := Notice{At: time.Now(), Thing: thing, Services: news.Services, Token: secret.New(news.ClientAccessToken).ID(), QoS: 1}
	if how.QoS0 {
		notice.QoS = 0
	}
	notice.Delivery, err = n.publish("$aws/things/"+thing+"/tunnels/notify", payload, notice.QoS)
	if err != nil {
		notice.Error = err.Error()
	}
	n.note(notice)
}

func (n *notifier) note(notice Notice) {
	log := n.log.With("thing", notice.Thing, "services", notice.Services, "token", notice.Token)
	switch {
	case notice.Error != "":
		log.Error("notification not published", "error", notice.Error)
	case notice.Lost:
		log.Warn("notification lost on purpose")
	case notice.Delivery.Sent == 0 && notice.Delivery.Stored == 0:
		log.Warn("notification published, but no subscriber received it")
	case notice.Delivery.Sent == 0:
		log.Info("notification stored for a device that is away")
	default:
		log.Info("notification published")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recent = append(n.recent, notice)
	if len(n.recent) > maxNotices {
		n.recent = slices.Delete(n.recent, 0, len(n.recent)-maxNotices)
	}
}

func (n *notifier) notices() []Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Notice{}, n.recent...)
}

// SetNotifications changes how notifications travel from now on.
func (s *Sandbox) SetNotifications(how Notifications) { s.notifier.set(how) }

// Notices returns the latest notifications, oldest first.
func (s *Sandbox) Notices() []Notice { return s.notifier.notices() }
