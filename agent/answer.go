package agent

import (
	"encoding/json"
	"time"

	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/services"
)

// maxAnswered bounds the services in an answer to a ping, so that it stays below 8 KiB with the longest names.
const maxAnswered = 32

// pong is the answer to an operator's ping. An operator who may open tunnels learns its content anyway.
type pong struct {
	Asked    []string      `json:"asked"` // the pings' marks
	Version  string        `json:"version"`
	Uptime   int64         `json:"uptime"` // of the daemon, in seconds
	Services []pongService `json:"services"`
}

type pongService struct {
	Name     string `json:"name"`
	Disabled bool   `json:"disabled,omitempty"`
}

// answerPing makes the answer to the pings with the given marks.
func (a *Agent) answerPing(asked []string) []byte {
	a.mu.Lock()
	list := a.current.Services
	a.mu.Unlock()
	return Pong(asked, time.Since(a.started), list)
}

// Pong returns what a daemon that has been up for so long answers to the pings with the given marks.
func Pong(asked []string, uptime time.Duration, list []services.Service) []byte {
	p := pong{Asked: asked, Version: version.Get().Version, Uptime: int64(uptime / time.Second), Services: []pongService{}}
	for _, s := range list[:min(len(list), maxAnswered)] {
		p.Services = append(p.Services, pongService{s.Name, s.Disabled})
	}
	data, _ := json.Marshal(p) // strings, numbers and truth values always encode
	return data
}
