package session

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxSpent bounds how many tokens of ended sessions are remembered. Operators cause
// few notifications. A flood of them only evicts the oldest tokens, and the service refuses their replay with a 4xx.
const maxSpent = 512

const endedVersion = 1

// spentTokens remembers the tokens of sessions that are over, so that a replayed notification does not dial
// again. MQTT may repeat a message with another packet id and without its DUP flag (AWS IoT developer
// guide, "MQTT"), so that only the token itself tells. It is safe for concurrent use.
type spentTokens struct {
	mu    sync.Mutex
	until map[fingerprint]time.Time
}

type endedFile struct {
	Version int          `json:"version"`
	Ended   []endedToken `json:"ended"`
}

type endedToken struct {
	SHA256 string    `json:"sha256"`
	Until  time.Time `json:"until"`
}

func newSpentTokens() *spentTokens { return &spentTokens{until: make(map[fingerprint]time.Time)} }

// add remembers f for MaxAge from now.
func (e *spentTokens) add(f fingerprint, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until[f] = now.Add(MaxAge)
	e.shrink(now)
}

func (e *spentTokens) has(f fingerprint, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	until, ok := e.until[f]
	return ok && now.Before(until)
}

// shrink drops what is out of date, then the oldest down to maxSpent.
func (e *spentTokens) shrink(now time.Time) {
	for f, until := range e.until {
		if !now.Before(until) {
			delete(e.until, f)
		}
	}
	if len(e.until) <= maxSpent {
		return
	}
	for _, t := range e.sorted()[:len(e.until)-maxSpent] {
		delete(e.until, t)
	}
}

// sorted returns the fingerprints, the one that is forgotten first in front.
func (e *spentTokens) sorted() []fingerprint {
	list := make([]fingerprint, 0, len(e.until))
	for f := range e.until {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b fingerprint) int {
		if c := e.until[a].Compare(e.until[b]); c != 0 {
			return c
		}
		return slices.Compare(a[:], b[:])
	})
	return list
}

func (e *spentTokens) encode() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := endedFile{Version: endedVersion, Ended: []endedToken{}}
	for _, t := range e.sorted() {
		f.Ended = append(f.Ended, endedToken{t.String(), e.until[t].Round(0)})
	}
	return json.Marshal(f)
}

// decode adds what a file holds. A time further off than MaxAge was written by a clock that ran ahead,
// and is cut to it.
func (e *spentTokens) decode(data []byte, now time.Time) error {
	var f endedFile
	if err := decodeVersioned(data, endedVersion, &f); err != nil {
		return err
	}
	list := make(map[fingerprint]time.Time, len(f.Ended))
	for _, t := range f.Ended {
		raw, err := hex.DecodeString(t.SHA256)
		if err != nil || len(raw) != len(fingerprint{}) {
			return fmt.Errorf("%q is not a SHA-256 in hex", t.SHA256)
		}
		until := t.Until
		if limit := now.Add(MaxAge); until.After(limit) {
			until = limit
		}
		list[fingerprint(raw)] = until
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.Copy(e.until, list)
	e.shrink(now)
	return nil
}
