package connect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// scripted is a control API that answers from a list and remembers what it was asked.
type scripted struct {
	mu      sync.Mutex
	tunnels []*types.Tunnel // newest first
	fail    map[string]error
	calls   []string
	// onDescribe, if set, changes a tunnel before it is described, and onRotate before its tokens are rotated.
	onDescribe, onRotate func(*types.Tunnel)
}

func (s *scripted) call(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	s.calls = append(s.calls, line)
	operation, _, _ := strings.Cut(line, " ")
	return s.fail[operation]
}

func (s *scripted) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *scripted) find(id *string) (*types.Tunnel, error) {
	for _, t := range s.tunnels {
		if *t.TunnelId == *id {
			return t, nil
		}
	}
	return nil, &types.ResourceNotFoundException{Message: aws.String("no such tunnel")}
}

func (s *scripted) ListTunnels(_ context.Context, in *iot.ListTunnelsInput, _ ...func(*iot.Options)) (*iot.ListTunnelsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("list %s", *in.ThingName); err != nil {
		return nil, err
	}
	// One to a page.
	i := 0
	if in.NextToken != nil {
		_, _ = fmt.Sscan(*in.NextToken, &i)
	}
	out := &iot.ListTunnelsOutput{}
	if i < len(s.tunnels) {
		t := s.tunnels[i]
		out.TunnelSummaries = []types.TunnelSummary{{TunnelId: t.TunnelId, Status: t.Status, CreatedAt: t.CreatedAt}}
	}
	if i+1 < len(s.tunnels) {
		out.NextToken = aws.String(fmt.Sprint(i + 1))
	}
	return out, nil
}

func (s *scripted) DescribeTunnel(_ context.Context, in *iot.DescribeTunnelInput, _ ...func(*iot.Options)) (*iot.DescribeTunnelOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.call("describe %s", *in.TunnelId); err != nil {
		return nil, err
	}
	t, err := s.find(in.TunnelId)
	if err != nil {
		return nil, err
	}
	if s.onDescribe != nil {
		s.onDescribe(t)
	}
	c := *t
	return &iot.DescribeTunnelOutput{Tunnel: &c}, nil
}

func (s *scripted) OpenTunnel(_ context.Context, in *iot.OpenTunnelInput, _ ...func(*iot.Options)) (*iot.OpenTunnelOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := in.DestinationConfig
	line := fmt.Sprintf("open %s %s", *d.ThingName, strings.Join(d.Services, ","))
	if in.TimeoutConfig != nil {
		line += fmt.Sprintf(" %d", *in.TimeoutConfig.MaxLifetimeTimeoutMinutes)
	}
	if err := s.call("%s", line); err != nil {
		return nil, err
	}
	return &iot.OpenTunnelOutput{TunnelId: aws.String("new"), SourceAccessToken: aws.String("token-of-new")}, nil
}

func (s *scripted) RotateTunnelAccessToken(_ context.Context, in *iot.RotateTunnelAccessTokenInput, _ ...func(*iot.Options)) (*iot.RotateTunnelAccessTokenOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("rotate %s %s", *in.TunnelId, in.ClientMode)
	if d := in.DestinationConfig; d != nil {
		line += " " + *d.ThingName + " " + strings.Join(d.Services, ",")
	}
	if err := s.call("%s", line); err != nil {
		return nil, err
	}
	if s.onRotate != nil {
		t, err := s.find(in.TunnelId)
		if err != nil {
			return nil, err
		}
		s.onRotate(t)
	}
	out := &iot.RotateTunnelAccessTokenOutput{}
	if in.ClientMode != types.ClientModeDestination {
		out.SourceAccessToken = aws.String("token-of-" + *in.TunnelId)
	}
	return out, nil
}

func (s *scripted) CloseTunnel(_ context.Context, in *iot.CloseTunnelInput, _ ...func(*iot.Options)) (*iot.CloseTunnelOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &iot.CloseTunnelOutput{}, s.call("close %s", *in.TunnelId)
}

func apiError(code string) error {
	return &smithy.OperationError{Err: &smithy.GenericAPIError{Code: code, Message: "so it is"}}
}

// told collects events.
type told struct {
	mu   sync.Mutex
	list []Event
}

func (t *told) event(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, e)
}

func (t *told) texts(k Kind) (list []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.list {
		if e.Kind == k {
			list = append(list, e.Text)
		}
	}
	return list
}

// aTunnel is an open one to pi-1 with SSH, made an hour ago.
func aTunnel(id string, edit ...func(*types.Tunnel)) *types.Tunnel {
	t := &types.Tunnel{
		TunnelId: &id, Status: types.TunnelStatusOpen, CreatedAt: aws.Time(time.Now().Add(-time.Hour)),
		DestinationConfig:          &types.DestinationConfig{ThingName: aws.String("pi-1"), Services: []string{"SSH"}},
		SourceConnectionState:      &types.ConnectionState{Status: types.ConnectionStatusDisconnected},
		DestinationConnectionState: &types.ConnectionState{Status: types.ConnectionStatusDisconnected},
	}
	for _, e := range edit {
		e(t)
	}
	return t
}
