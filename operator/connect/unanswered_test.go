package connect

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/culvert-iot/culvert/operator/iotsecuretunneling/types"
)

// Of the tunnels that are there after a lost answer, only those that this side may have opened are closed.
func TestWhichTunnelsWereOpenedWithoutAnAnswer(t *testing.T) {
	lost := time.Now()
	opened := func(id string, at time.Duration, edit ...func(*types.Tunnel)) *types.Tunnel {
		return aTunnel(id, append([]func(*types.Tunnel){func(d *types.Tunnel) {
			d.Description, d.CreatedAt = aws.String(openedBy), aws.Time(lost.Add(at))
		}}, edit...)...)
	}
	used := func(s types.ConnectionStatus) func(*types.Tunnel) {
		return func(d *types.Tunnel) {
			d.SourceConnectionState = &types.ConnectionState{Status: s, LastUpdatedAt: aws.Time(lost.Add(time.Second))}
		}
	}
	api, news := &scripted{tunnels: []*types.Tunnel{
		opened("much-later", 2*signatureSkew), opened("a", -time.Second), opened("b", time.Minute),
		opened("in-use", -time.Second, used(types.ConnectionStatusConnected)), opened("was-in-use", -time.Second, used(types.ConnectionStatusDisconnected)),
		opened("by-hand", -time.Second, func(d *types.Tunnel) { d.Description = nil }),
		opened("before", -time.Minute),
	}}, &told{}
	cfg := checked(t, Config{API: api, Progress: news.event})
	f := &finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}, skip: map[string]bool{}, listed: []string{"before"}}
	f.noteLost()
	f.closeUnanswered(false)
	f.closeUnanswered(true) // there is nothing left to look for
	closed := slices.DeleteFunc(api.asked(), func(call string) bool { return !strings.HasPrefix(call, "close ") })
	if want := []string{"close b", "close a"}; !slices.Equal(closed, want) {
		t.Errorf("calls %q, want %q", closed, want)
	}
	if texts := news.texts(Notice); len(texts) > 0 {
		t.Errorf("told %q", texts)
	}
}

// What cannot be looked for is told, and only then.
func TestWhenATunnelWithoutAnAnswerIsTold(t *testing.T) {
	for _, tt := range []struct {
		config     Config
		late, want bool
		err        error
	}{
		{}, {late: true, want: true}, {err: apiError("AccessDeniedException"), want: true}, {config: Config{Keep: true}, want: true},
	} {
		t.Run(fmt.Sprintf("late %v, keep %v, %v", tt.late, tt.config.Keep, tt.err), func(t *testing.T) {
			api, news := &scripted{fail: map[string]error{"list": tt.err}}, &told{}
			tt.config.API, tt.config.Progress = api, news.event
			cfg := checked(t, tt.config)
			f := &finder{Config: &cfg, thing: "pi-1", listed: []string{}}
			f.noteLost()
			f.closeUnanswered(tt.late)
			if texts := news.texts(Notice); len(texts) > 0 != tt.want {
				t.Errorf("told %q", texts)
			}
		})
	}
}
