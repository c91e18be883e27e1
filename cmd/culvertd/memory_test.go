package main

import (
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// All limits together: whatever number of connections is open, process and kernel stay within the limit.
func TestAllConnectionsFitTheMemoryLimit(t *testing.T) {
	for limit := uint64(64 << 20); limit <= 64<<30; limit += 7 << 20 {
		plan := planMemory(limit)
		n := uint64(plan.connections)
		if need := baseMemory + n*(connectionMemory+socketMemory); need > limit {
			t.Fatalf("%d connections need %d bytes of %d", n, need, limit)
		}
		if heap := uint64(plan.heap); heap > limit || heap < limit/2 || heap < baseMemory/2+n*connectionMemory {
			t.Fatalf("a heap of %d bytes for %d connections, of %d in all", heap, n, limit)
		}
		if limit > 2<<30 {
			limit += 1 << 30
		}
	}
}

func TestTheUnitsLimitAllowsEachTunnelItsShare(t *testing.T) {
	unit, err := os.ReadFile("../../configs/culvertd.service")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^MemoryMax=(\d+)M$`).FindSubmatch(unit)
	if m == nil {
		t.Fatal("the unit has no MemoryMax in MB")
	}
	mb, err := strconv.ParseUint(string(m[1]), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	const tunnels, each = 8, 128
	if got := planMemory(mb << 20).connections; got < tunnels*each {
		t.Errorf("%d connections in %d MB, want %d for each of %d tunnels", got, mb, each, tunnels)
	}
}

func TestExtremeMemoryLimits(t *testing.T) {
	for limit, want := range map[uint64]int{0: mostConnections, 1: leastConnections, 16 << 20: leastConnections, 1 << 63: mostConnections} {
		if got := planMemory(limit); got.connections != want || got.heap < 0 || limit > 0 && uint64(got.heap) > limit {
			t.Errorf("%d bytes: %+v", limit, got)
		}
	}
}

// Memory is given back after a handshake, and after many connections, but not while they come and go.
func TestMemoryIsGivenBackOnceItIsQuiet(t *testing.T) {
	t.Setenv("GOGC", "100") // this process keeps its own
	synctest.Test(t, func(t *testing.T) {
		var trims atomic.Int64
		m := newTrimmer(func() { trims.Add(1) })
		expect := func(want int64, when string) {
			t.Helper()
			time.Sleep(2 * trimDelay)
			synctest.Wait()
			if n := trims.Load(); n != want {
				t.Errorf("memory was given back %d times after %s, want %d", n, when, want)
			}
		}
		m.settled()
		expect(1, "a handshake")
		for range trimAfter - 1 {
			m.connection()
		}
		expect(1, "a few connections")
		for range 100 {
			m.connection()
			time.Sleep(trimDelay / 2)
		}
		synctest.Wait()
		if n := trims.Load(); n != 1 {
			t.Errorf("memory was given back %d times while connections come and go", n-1)
		}
		expect(2, "many connections")
		m.connection()
		expect(2, "one more")
	})
}
