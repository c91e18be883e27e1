package connect_test

import (
	"slices"
	"testing"

	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/sandbox"
)

func TestServicesThatATunnelIsOpenedWith(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		wanted, also, want []string
		form               connect.DestinationType
	}{
		"those that are wanted":                       {wanted: []string{"SSH"}, want: []string{"SSH"}},
		"and known ones, up to three":                 {wanted: []string{"SSH"}, also: []string{"SSH", "A", "B", "C"}, want: []string{"SSH", "A", "B"}},
		"no names that are none":                      {wanted: []string{"SSH"}, also: []string{"a b", "A"}, want: []string{"SSH", "A"}},
		"one for a V1 device":                         {wanted: []string{"SSH"}, also: []string{"A"}, want: []string{"SSH"}, form: connect.V1},
		"the wanted alone where AWS refuses the rest": {wanted: []string{"SSH"}, also: []string{"A", "B"}, want: []string{"SSH"}, form: "two at most"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var box sandbox.Config
			if tt.form == "two at most" {
				box.MaxServices, tt.form = 2, ""
			}
			c := newCloudThat(t, box, culvertDevice(echo))
			cfg := c.config()
			cfg.Also = tt.also
			if tt.form != "" {
				cfg.Destination = tt.form
			}
			tunnel := openTunnel(t, cfg, tt.wanted...)
			if !slices.Equal(tunnel.Services(), tt.want) || !slices.Equal(c.open(), []string{tunnel.ID()}) {
				t.Errorf("services %q, want %q; open %q", tunnel.Services(), tt.want, c.open())
			}
			if tt.form == "" {
				talk(t, dial(t, tunnel, "SSH"), "hello")
			}
		})
	}
}
