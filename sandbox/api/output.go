package api

import (
	"fmt"
	"time"

	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// Output shapes (API model). Absent members are left out.

type tunnelOut struct {
	TunnelID                   string          `json:"tunnelId"`
	TunnelARN                  string          `json:"tunnelArn"`
	Status                     tunnels.Status  `json:"status"`
	SourceConnectionState      stateOut        `json:"sourceConnectionState"`
	DestinationConnectionState stateOut        `json:"destinationConnectionState"`
	Description                string          `json:"description,omitempty"`
	DestinationConfig          *destinationOut `json:"destinationConfig,omitempty"`
	TimeoutConfig              timeoutOut      `json:"timeoutConfig"`
	Tags                       []tagOut        `json:"tags,omitempty"`
	CreatedAt                  epoch           `json:"createdAt"`
	LastUpdatedAt              epoch           `json:"lastUpdatedAt"`
}

type stateOut struct {
	Status        string `json:"status"`
	LastUpdatedAt epoch  `json:"lastUpdatedAt"`
}

type destinationOut struct {
	ThingName string   `json:"thingName,omitempty"`
	Services  []string `json:"services"`
}

type timeoutOut struct {
	MaxLifetimeTimeoutMinutes int `json:"maxLifetimeTimeoutMinutes"`
}

type tagOut struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// summaryOut has no thing, services or connection states; only DescribeTunnel tells them.
type summaryOut struct {
	TunnelID      string         `json:"tunnelId"`
	TunnelARN     string         `json:"tunnelArn"`
	Status        tunnels.Status `json:"status"`
	Description   string         `json:"description,omitempty"`
	CreatedAt     epoch          `json:"createdAt"`
	LastUpdatedAt epoch          `json:"lastUpdatedAt"`
}

// epoch is a time stamp of AWS JSON: seconds since 1970 as a number, here to the millisecond.
type epoch time.Time

func (e epoch) MarshalJSON() ([]byte, error) {
	ms := time.Time(e).UnixMilli()
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}

func describe(t tunnels.Tunnel) tunnelOut {
	out := tunnelOut{
		TunnelID: t.ID, TunnelARN: t.ARN, Status: t.Status, Description: t.Description,
		SourceConnectionState:      stateOut{t.SourceState.Status, epoch(t.SourceState.LastUpdatedAt)},
		DestinationConnectionState: stateOut{t.DestinationState.Status, epoch(t.DestinationState.LastUpdatedAt)},
		TimeoutConfig:              timeoutOut{int(t.Lifetime / time.Minute)},
		Tags:                       tagsOut(t.Tags),
		CreatedAt:                  epoch(t.Created), LastUpdatedAt: epoch(t.Updated),
	}
	if t.Destination != nil {
		out.DestinationConfig = &destinationOut{t.Destination.ThingName, t.Destination.Services}
	}
	return out
}

func summarize(t tunnels.Tunnel) summaryOut {
	return summaryOut{t.ID, t.ARN, t.Status, t.Description, epoch(t.Created), epoch(t.Updated)}
}

func tagsOut(tags []tunnels.Tag) []tagOut {
	out := []tagOut{}
	for _, t := range tags {
		out = append(out, tagOut(t))
	}
	return out
}
