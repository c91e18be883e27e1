package connect

import (
	"strings"
	"testing"
	"time"
)

// The monotonic clock stands still while a laptop sleeps, and a tunnel's life does not.
func TestAnExpiryIsAWallClocksTime(t *testing.T) {
	cfg := checked(t, Config{API: &scripted{}, New: true, Lifetime: time.Hour})
	found, err := (&finder{Config: &cfg, thing: "pi-1", wanted: []string{"SSH"}}).find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e := found.expires; strings.Contains(e.String(), " m=") || time.Until(e).Round(time.Minute) != time.Hour {
		t.Errorf("it ends at %v, which is to be in an hour, without the monotonic clock's reading m", e)
	}
}
