package connect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/internal/secret"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
	"github.com/culvert-iot/culvert/services"
)

// openedBy is the description of the tunnels that Culvert opens.
const openedBy = "opened by culvert"

// How long a tunnel to which no source has connected is left to the one who opened it: another Culvert connects
// at once, a person carries the token by hand.
const (
	setupGrace = time.Minute
	handGrace  = 5 * time.Minute
)

// Limits of the search: a fleet's tool may leave hundreds of closed tunnels in the list, and each candidate is a call.
const (
	maxPages      = 10
	maxCandidates = 10
)

// tunnel is one that was found or opened, with a fresh token for this side.
type tunnel struct {
	id       string
	services []string
	opened   bool      // here
	made     time.Time // when the call that opened it was answered, by this machine's clock; else zero
	takeOver bool      // another operator's use of it is to end: see [Config]
	expires  time.Time
	token    secret.Value

	// When the sides' states last changed before the tokens were made; zero for a new tunnel. The service's own
	// clock, so that this machine's may be wrong.
	sourceBefore, destinationBefore time.Time
	looked                          time.Time // when its state was asked for, by this machine's clock
}

// finder looks for a tunnel to a thing.
type finder struct {
	*Config

	thing  string
	wanted []string
	skip   map[string]bool // tunnels that are no use
	listed []string        // the thing's open tunnels before the present call of OpenTunnel; nil if they are not known
	before map[string]bool // known tunnels, while those of lost answers to OpenTunnel are looked for; else nil
	unseen int             // how many answers were lost whose tunnels, if there are any, have not been seen yet
	lost   time.Time       // when the last one was lost, by this machine's clock
	exists <-chan bool     // one answer, or nil; see lookUp
	sight  <-chan sight    // one answer, or nil; see lookOut
}

// withoutTakeOver is c for later searches: consent to end another operator's session is for the tunnel that was in use
// when it was given, not for what is found hours later.
func (c *Config) withoutTakeOver() *Config {
	later := *c
	later.TakeOver = false
	return &later
}

// find returns an open tunnel whose tokens were rotated, or a new one.
func (f *finder) find(ctx context.Context) (*tunnel, error) {
	f.lookUp(ctx)
	if f.New && f.before == nil { // what is there is only not to be taken for a tunnel whose opening is not answered
		f.listed = f.tryList(ctx)
		return f.open(ctx)
	}
	f.step("looking for an open tunnel to %s", f.thing)
	list, err := f.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range list[:min(len(list), maxCandidates)] {
		t, err := f.reuse(ctx, id)
		if t != nil || err != nil {
			return t, err
		}
	}
	f.listed = list
	return f.open(ctx)
}

// list returns the ids of the thing's open tunnels, newest first.
func (f *finder) list(ctx context.Context) ([]string, error) {
	var open []types.TunnelSummary
	in := &iot.ListTunnelsInput{ThingName: &f.thing, MaxResults: aws.Int32(100)}
	for range maxPages {
		out, err := f.API.ListTunnels(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, t := range out.TunnelSummaries {
			if t.Status == types.TunnelStatusOpen && t.TunnelId != nil && !f.skip[*t.TunnelId] {
				open = append(open, t)
			}
		}
		if aws.ToString(out.NextToken) == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	slices.SortStableFunc(open, func(a, b types.TunnelSummary) int {
		return cmp.Or(aws.ToTime(b.CreatedAt).Compare(aws.ToTime(a.CreatedAt)))
	})
	ids := make([]string, 0, len(open))
	for _, t := range open {
		ids = append(ids, *t.TunnelId)
	}
	return ids, nil
}

// reuse rotates the tokens of a tunnel that fits. Neither tunnel nor error means that it is no use.
func (f *finder) reuse(ctx context.Context, id string) (*tunnel, error) {
	looked := time.Now()
	d, err := f.describe(ctx, id)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if f.New && !f.isUnanswered(d) {
		return nil, nil
	}
	if why := f.unfit(d); why != "" {
		f.Logger.Debug("tunnel passed over", "tunnel", id, "reason", why)
		return nil, nil
	}
	if f.reserved(d) {
		return nil, nil
	}
	if d.SourceConnectionState != nil && d.SourceConnectionState.Status == types.ConnectionStatusConnected {
		since := ""
		if at := d.SourceConnectionState.LastUpdatedAt; at != nil {
			since = " since " + at.Local().Format(time.TimeOnly)
		}
		if !f.TakeOver {
			f.notice("tunnel %s is in use%s, so it is left alone; --take-over would end that session", id, since)
			return nil, nil
		}
		f.notice("taking over tunnel %s, in use%s", id, since)
	}
	// A device that is connected to the tunnel is there, whatever its other connection does.
	if _, connected := changed(d.DestinationConnectionState); !connected {
		began := time.Now()
		if err := f.present(ctx); err != nil {
			return nil, err
		}
		if time.Since(began) > minDispute {
			return f.reuse(ctx, id) // what was seen may be true no more; the second time, present does not wait
		}
	}
	t := &tunnel{id: id, services: d.DestinationConfig.Services, takeOver: f.TakeOver, expires: expiry(d), looked: looked}
	t.sourceBefore, _ = changed(d.SourceConnectionState)
	t.destinationBefore, _ = changed(d.DestinationConnectionState)
	f.step("rotating the tokens of tunnel %s", id)
	out, err := f.API.RotateTunnelAccessToken(ctx, &iot.RotateTunnelAccessTokenInput{
		TunnelId: &id, ClientMode: types.ClientModeAll,
		DestinationConfig: &types.DestinationConfig{ThingName: &f.thing, Services: t.services},
	})
	switch {
	case err == nil && aws.ToString(out.SourceAccessToken) != "":
		t.token = secret.New(*out.SourceAccessToken)
		if taken, err := f.taken(ctx, t); taken || err != nil {
			return nil, err
		}
		if f.isUnanswered(d) {
			f.notice("tunnel %s was opened although the answer was lost", id)
			t.opened = true
			f.seen(id)
		}
		return t, nil
	case err != nil && (ctx.Err() != nil || isDenied(err) || isThrottled(err) || apiCode(err) == ""):
		return nil, err
	}
	// The tunnel looks open and cannot be rotated. AWS does not document whether the service allows that before an end
	// was ever connected.
	f.notice("tunnel %s cannot be rotated (%s), so another one is needed", id, cmp.Or(apiCode(err), "no token came back"))
	if f.isUnanswered(d) {
		f.seen(id)
		f.discard(id)
	}
	return nil, nil
}

// taken reports whether the tunnel was closed, or another operator has connected to it, between the look at it and the
// rotation of its tokens. That operator has it, however late the rotation came, and makes itself a new token. Two
// operators cannot both go on from here: the later of two rotations voids the token of the earlier one.
func (f *finder) taken(ctx context.Context, t *tunnel) (bool, error) {
	if f.TakeOver {
		return false, nil
	}
	d, err := f.describe(ctx, t.id)
	switch {
	case isGone(err), err == nil && d.Status != types.TunnelStatusOpen:
		return true, nil
	case err != nil:
		return false, err
	}
	if at, connected := changed(d.SourceConnectionState); !connected && at.Equal(t.sourceBefore) {
		return false, nil
	}
	f.notice("another operator was faster with tunnel %s, so it is left alone", t.id)
	return true, nil
}

// unfit tells why a tunnel is no use; "" if it is of use.
func (f *finder) unfit(d *types.Tunnel) string {
	switch c := d.DestinationConfig; {
	case d.Status != types.TunnelStatusOpen:
		return "closed"
	case c == nil || aws.ToString(c.ThingName) != f.thing:
		return "no destination or another thing"
	case f.Destination == V1 && len(c.Services) != 1:
		return "V1 needs a tunnel of one service"
	case slices.ContainsFunc(f.wanted, func(s string) bool { return !slices.Contains(c.Services, s) }):
		return "other services"
	}
	if at := expiry(d); !at.IsZero() {
		if left := time.Until(at); left < min(MinLeft, at.Sub(*d.CreatedAt)/2) {
			return fmt.Sprintf("ends in %v", left.Round(time.Second))
		}
	}
	return ""
}

// expiry returns when a tunnel ends at the latest; zero if that is not known.
func expiry(d *types.Tunnel) time.Time {
	if d.CreatedAt == nil {
		return time.Time{}
	}
	life := maxLifetime
	if d.TimeoutConfig != nil && d.TimeoutConfig.MaxLifetimeTimeoutMinutes != nil {
		life = time.Duration(*d.TimeoutConfig.MaxLifetimeTimeoutMinutes) * time.Minute
	}
	return d.CreatedAt.Add(life)
}

// reserved reports whether a tunnel is left alone because it is young and its source has never connected: the
// person who opened it has its token in hand, and a rotation would void it.
func (f *finder) reserved(d *types.Tunnel) bool {
	at, _ := changed(d.SourceConnectionState)
	if f.TakeOver || d.CreatedAt == nil || at.After(*d.CreatedAt) || f.isUnanswered(d) {
		return false
	}
	id, age := aws.ToString(d.TunnelId), time.Since(*d.CreatedAt).Round(time.Second)
	if aws.ToString(d.Description) == openedBy {
		return age < setupGrace
	}
	if age < handGrace {
		f.notice("tunnel %s was opened %v ago and its token is not used yet, so it is left alone; --take-over uses it", id, age)
		return true
	}
	return false
}

func (f *finder) open(ctx context.Context) (*tunnel, error) {
	if err := f.missing(); err != nil {
		return nil, err
	}
	if err := f.present(ctx); err != nil {
		return nil, err
	}
	// The line stays, unlike a step, because it is about money.
	f.notice("opening a tunnel to %s for %s, which AWS charges for%s", f.thing, f.life(), f.price())
	names := f.named()
	in := &iot.OpenTunnelInput{
		Description:       aws.String(openedBy),
		DestinationConfig: &types.DestinationConfig{ThingName: &f.thing, Services: names},
	}
	if f.Lifetime > 0 {
		in.TimeoutConfig = &types.TimeoutConfig{MaxLifetimeTimeoutMinutes: aws.Int32(int32(f.Lifetime / time.Minute))} //nolint:gosec // 720 at most
	}
	out, err := f.create(ctx, in)
	if err != nil && ctx.Err() == nil && len(names) > len(f.wanted) && isRefusedInput(err) {
		names = f.wanted
		in.DestinationConfig.Services = names
		out, err = f.create(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	id, token := aws.ToString(out.TunnelId), aws.ToString(out.SourceAccessToken)
	if id == "" || token == "" {
		f.discard(id)
		return nil, fmt.Errorf("open a tunnel: the answer of the control API has no tunnel id or no source access token")
	}
	// Without the monotonic clock's reading, which stands still while a laptop sleeps: the service's clock goes on.
	expires := time.Now().Round(0).Add(cmp.Or(f.Lifetime, maxLifetime))
	return &tunnel{id: id, services: names, opened: true, made: time.Now(), expires: expires, token: secret.New(token)}, nil
}

// maxNamed bounds the services of a new tunnel, unless the caller wants more.
const maxNamed = 3

// named returns the services of a new tunnel.
func (f *finder) named() []string {
	names := slices.Clone(f.wanted)
	for _, s := range f.Also {
		if len(names) < maxNamed && f.Destination != V1 && services.ValidName(s) && !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	return names
}

// life is the lifetime of a new tunnel.
func (c *Config) life() string {
	life := cmp.Or(c.Lifetime, maxLifetime)
	if life%time.Hour == 0 {
		return fmt.Sprintf("%d h", life/time.Hour)
	}
	return fmt.Sprintf("%d min", life/time.Minute)
}

// price is what the user says a tunnel costs, in brackets; "" if that is not known.
func (c *Config) price() string {
	if c.Price == "" {
		return ""
	}
	return " (" + c.Price + ")"
}

func (c *Config) describe(ctx context.Context, id string) (*types.Tunnel, error) {
	out, err := c.API.DescribeTunnel(ctx, &iot.DescribeTunnelInput{TunnelId: &id})
	if err != nil {
		return nil, err
	}
	if out.Tunnel == nil {
		return nil, fmt.Errorf("describe tunnel %s: the answer of the control API has no tunnel", id)
	}
	return out.Tunnel, nil
}

// changed returns when a side's state last changed and whether it is connected.
func changed(s *types.ConnectionState) (at time.Time, connected bool) {
	if s == nil {
		return time.Time{}, false
	}
	return aws.ToTime(s.LastUpdatedAt), s.Status == types.ConnectionStatusConnected
}
