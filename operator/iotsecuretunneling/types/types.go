package types

import (
	"encoding/json"
	"time"
)

// Members are declared in the order of the API model, which is the order that the AWS CLI prints.

// ConnectionState reports whether one side of a tunnel is connected, and since when.
type ConnectionState struct {
	Status        ConnectionStatus `json:"status"`
	LastUpdatedAt *time.Time       `json:"lastUpdatedAt"`
}

// UnmarshalJSON reads time stamps as the service writes them.
func (s *ConnectionState) UnmarshalJSON(text []byte) error {
	type plain ConnectionState
	in := struct {
		*plain

		LastUpdatedAt *stamp `json:"lastUpdatedAt"`
	}{plain: (*plain)(s)}
	err := json.Unmarshal(text, &in)
	s.LastUpdatedAt = (*time.Time)(in.LastUpdatedAt)
	return err
}

// DestinationConfig names the device that a tunnel leads to. If it names a thing, the service publishes the
// destination's token to that thing.
type DestinationConfig struct {
	// ThingName is the thing's name in the registry. With nil, the service notifies no device.
	ThingName *string `json:"thingName,omitempty"`
	// Services are the names of the services to reach: at least one, at most three by default quota.
	Services []string `json:"services"`
}

// Tag is a label of a tunnel. Both members are required; a value may be empty.
type Tag struct {
	Key   *string `json:"key"`
	Value *string `json:"value"`
}

// TimeoutConfig limits how long a tunnel stays open.
type TimeoutConfig struct {
	MaxLifetimeTimeoutMinutes *int32 `json:"maxLifetimeTimeoutMinutes,omitempty"` // 1 to 720; nil means 720
}

// Tunnel describes a tunnel. It never holds tokens: only the calls that make them return them.
type Tunnel struct {
	TunnelId                   *string            `json:"tunnelId"` //nolint:revive,staticcheck // the name in the AWS SDK
	TunnelArn                  *string            `json:"tunnelArn"`
	Status                     TunnelStatus       `json:"status"`
	SourceConnectionState      *ConnectionState   `json:"sourceConnectionState"`
	DestinationConnectionState *ConnectionState   `json:"destinationConnectionState"`
	Description                *string            `json:"description"`
	DestinationConfig          *DestinationConfig `json:"destinationConfig"`
	TimeoutConfig              *TimeoutConfig     `json:"timeoutConfig"`
	Tags                       []Tag              `json:"tags"`
	CreatedAt                  *time.Time         `json:"createdAt"`
	LastUpdatedAt              *time.Time         `json:"lastUpdatedAt"`
}

// UnmarshalJSON reads time stamps as the service writes them.
func (t *Tunnel) UnmarshalJSON(text []byte) error {
	type plain Tunnel
	in := struct {
		*plain

		CreatedAt     *stamp `json:"createdAt"`
		LastUpdatedAt *stamp `json:"lastUpdatedAt"`
	}{plain: (*plain)(t)}
	err := json.Unmarshal(text, &in)
	t.CreatedAt, t.LastUpdatedAt = (*time.Time)(in.CreatedAt), (*time.Time)(in.LastUpdatedAt)
	return err
}

// TunnelSummary is a tunnel in a list: without thing, services and connections, which only DescribeTunnel returns.
type TunnelSummary struct {
	TunnelId      *string      `json:"tunnelId"` //nolint:revive,staticcheck // the name in the AWS SDK
	TunnelArn     *string      `json:"tunnelArn"`
	Status        TunnelStatus `json:"status"`
	Description   *string      `json:"description"`
	CreatedAt     *time.Time   `json:"createdAt"`
	LastUpdatedAt *time.Time   `json:"lastUpdatedAt"`
}

// UnmarshalJSON reads time stamps as the service writes them.
func (t *TunnelSummary) UnmarshalJSON(text []byte) error {
	type plain TunnelSummary
	in := struct {
		*plain

		CreatedAt     *stamp `json:"createdAt"`
		LastUpdatedAt *stamp `json:"lastUpdatedAt"`
	}{plain: (*plain)(t)}
	err := json.Unmarshal(text, &in)
	t.CreatedAt, t.LastUpdatedAt = (*time.Time)(in.CreatedAt), (*time.Time)(in.LastUpdatedAt)
	return err
}
