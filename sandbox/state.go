package sandbox

import (
	"time"

	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/broker"
)

// Addresses is where everything is, as GET /state and the command's --json show it.
type Addresses struct {
	API      string   `json:"api"`
	Relay    string   `json:"relay"`
	MQTT     string   `json:"mqtt"`
	MQTTALPN string   `json:"mqtt_alpn,omitempty"`
	Admin    string   `json:"admin"`
	Region   string   `json:"region"`
	Account  string   `json:"account"`
	Dir      string   `json:"dir"`
	CAFile   string   `json:"ca_file"`
	Devices  []Device `json:"devices"`
}

// Addresses tells where everything is.
func (s *Sandbox) Addresses() Addresses {
	return Addresses{
		API: s.APIURL, Relay: s.RelayURL, MQTT: s.MQTT, MQTTALPN: s.MQTTALPN, Admin: s.AdminURL,
		Region: s.Region, Account: s.cfg.Account, Dir: s.Dir, CAFile: s.CAFile(), Devices: s.Devices(),
	}
}

type tunnelState struct {
	ID          string          `json:"id"`
	Status      string          `json:"status"`
	Thing       string          `json:"thing,omitempty"`
	Services    []string        `json:"services,omitempty"`
	Source      connectionState `json:"source"`
	Destination connectionState `json:"destination"`
	Created     time.Time       `json:"created"`
	Expires     time.Time       `json:"expires"`
}

type connectionState struct {
	Status string    `json:"status"`
	Since  time.Time `json:"since"`
}

type violationState struct {
	Tunnel string `json:"tunnel"`
	Side   string `json:"side"`
	Rule   string `json:"rule"`
	Detail string `json:"detail,omitempty"`
}

func (s *Sandbox) state() any {
	type mqttState struct {
		Running bool                 `json:"running"`
		Frozen  bool                 `json:"frozen"`
		Clients []broker.ClientState `json:"clients"`
	}
	out := struct {
		Addresses     Addresses        `json:"addresses"`
		Tunnels       []tunnelState    `json:"tunnels"` // newest first
		MQTT          *mqttState       `json:"mqtt,omitempty"`
		Notifications []Notice         `json:"notifications"`
		Violations    []violationState `json:"violations"`
		APIFaults     []api.Fault      `json:"api_faults"`
	}{
		Addresses: s.Addresses(), Tunnels: []tunnelState{}, Notifications: s.Notices(), Violations: []violationState{},
		APIFaults: s.API.PendingFaults(),
	}
	for _, t := range s.Store.List("") {
		ts := tunnelState{
			ID: t.ID, Status: string(t.Status), Created: t.Created, Expires: t.Created.Add(t.Lifetime),
			Source:      connectionState{t.SourceState.Status, t.SourceState.LastUpdatedAt},
			Destination: connectionState{t.DestinationState.Status, t.DestinationState.LastUpdatedAt},
		}
		if t.Destination != nil {
			ts.Thing, ts.Services = t.Destination.ThingName, t.Destination.Services
		}
		out.Tunnels = append(out.Tunnels, ts)
	}
	for _, v := range s.Relay.Violations() {
		out.Violations = append(out.Violations, violationState{v.Tunnel, string(v.Side), string(v.Rule), v.Detail})
	}
	if s.Broker != nil {
		out.MQTT = &mqttState{s.Broker.Running(), s.Broker.Frozen(), s.Broker.Clients()}
	}
	return out
}
