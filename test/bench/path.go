package main

import (
	"fmt"
	"time"
)

// limit is what AWS allows a tunnel, in bytes a second, both directions together.
const limit = 800_000

// path is what lies between the device and the relay.
type path struct {
	name string
	rtt  time.Duration
	loss float64 // of the packets, each way
	rate int     // of the tunnel, in bytes a second, kept by the relay; 0: no limit
}

var paths = []path{
	{name: "loopback"},
	{name: "20ms", rtt: 20 * time.Millisecond, rate: limit},
	{name: "80ms", rtt: 80 * time.Millisecond, rate: limit},
	{name: "200ms", rtt: 200 * time.Millisecond, rate: limit},
	{name: "lossy", rtt: 20 * time.Millisecond, rate: limit, loss: 0.01},
}

func pathNames() (names []string) {
	for _, p := range paths {
		names = append(names, p.name)
	}
	return names
}

func (p path) String() string {
	s := p.name
	if p.rtt > 0 {
		s = fmt.Sprintf("%v round trip", p.rtt)
	}
	if p.loss > 0 {
		s += fmt.Sprintf(", %g %% of the packets lost each way", p.loss*100)
	}
	if p.rate > 0 {
		s += fmt.Sprintf(", %d kB/s", p.rate/1000)
	}
	return s
}

// place is where the device's programs run, and which address the relay listens on for them.
type place struct {
	relay  string   // host
	device string   // host
	prefix []string // put in front of a command to run it there
	close  func()
}

// here is this machine's own network.
func here() place {
	return place{relay: "127.0.0.1", device: "127.0.0.1", close: func() {}}
}
