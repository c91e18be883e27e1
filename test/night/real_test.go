package main

import (
	"testing"
	"time"
)

// TestRealAgentsComeBack plays a short night with a few real agents.
func TestRealAgentsComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	n, err := measure(t.Context(), 25, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	dials := 0
	for _, m := range n.Moments {
		dials += m.Dials
		if m.Second <= n.Outage && m.Tunnels+m.MQTT > 0 {
			t.Errorf("in the outage, %d tunnels and %d MQTT clients are connected", m.Tunnels, m.MQTT)
		}
	}
	if last := n.Moments[len(n.Moments)-1]; last.Second > 30 || dials > 25*12 {
		t.Errorf("all were back after %d s, with %d dials", last.Second, dials)
	}
}
