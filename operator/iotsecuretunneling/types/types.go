package types

import "time"

// ConnectionState is whether a local proxy of one side is connected, and since when.
type ConnectionState struct {
	LastUpdatedAt *time.Time
	Status        ConnectionStatus
}

// DestinationConfig says which device a tunnel leads to. The service publishes the destination's token to the thing,
// if one is named.
type DestinationConfig struct {
	// Services are the names of what is to be reached: one or more, three by default quota.
	Services []string `json:"services"`
	// ThingName is the thing's name in the registry; nil notifies nobody.
	ThingName *string `json:"thingName,omitempty"`
}

// Tag is a label of a tunnel. Both members are required; a value may be empty.
type Tag struct {
	Key   *string `json:"key"`
	Value *string `json:"value"`
}

// TimeoutConfig is how long a tunnel may stay open.
type TimeoutConfig struct {
	MaxLifetimeTimeoutMinutes *int32 `json:"maxLifetimeTimeoutMinutes,omitempty"` // 1 to 720; nil is 720
}

// Tunnel is all that the service tells of a tunnel. Tokens are not in it: they are told once, by the calls that make
// them.
type Tunnel struct {
	CreatedAt                  *time.Time
	Description                *string
	DestinationConfig          *DestinationConfig
	DestinationConnectionState *ConnectionState
	LastUpdatedAt              *time.Time
	SourceConnectionState      *ConnectionState
	Status                     TunnelStatus
	Tags                       []Tag
	TimeoutConfig              *TimeoutConfig
	TunnelArn                  *string
	TunnelId                   *string //nolint:revive,staticcheck // the name in the AWS SDK
}

// TunnelSummary is what a list tells of a tunnel: neither thing nor services nor connections, only DescribeTunnel
// knows those.
type TunnelSummary struct {
	CreatedAt     *time.Time
	Description   *string
	LastUpdatedAt *time.Time
	Status        TunnelStatus
	TunnelArn     *string
	TunnelId      *string //nolint:revive,staticcheck // the name in the AWS SDK
}
