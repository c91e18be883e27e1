package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/internal/version"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/holder"
	iot "github.com/culvert-iot/culvert/operator/iotsecuretunneling"
)

// persistVariable is the environment's --persist.
const persistVariable = "CULVERT_PERSIST"

// defaultPersist is how long a holder outlives its last use.
const defaultPersist = 15 * time.Minute

// shareOptions are the flags that say whether commands share a tunnel.
type shareOptions struct {
	persist time.Duration
	alone   bool
	price   string
}

func (o *shareOptions) register(f *pflag.FlagSet) {
	f.DurationVar(&o.persist, "persist", defaultPersist, "`time` that the tunnel is held for later commands after its last use; 0 shares none; environment: "+persistVariable)
	f.BoolVar(&o.alone, "no-share", false, "keep the tunnel to this command")
	f.StringVar(&o.price, "price", "", "`amount` that AWS charges for a tunnel, to be shown before one is opened; environment: "+priceVariable)
}

// resolve takes values without a flag from the environment.
func (o *shareOptions) resolve(f *pflag.FlagSet) error {
	if text := os.Getenv(persistVariable); text != "" && !f.Changed("persist") {
		d, err := time.ParseDuration(text)
		if err != nil {
			return &connect.Error{Reason: connect.BadRequest, Text: fmt.Sprintf("%s=%s is not a duration such as 15m; 0 shares no tunnel", persistVariable, text)}
		}
		o.persist = d
	}
	if o.persist < 0 {
		return &connect.Error{Reason: connect.BadRequest, Text: fmt.Sprintf("--persist %v is negative; 0 shares no tunnel", o.persist)}
	}
	if o.price == "" {
		o.price = os.Getenv(priceVariable)
	}
	return nil
}

// tunnel is a tunnel to a thing's services, shared or not.
type tunnel interface {
	ID() string
	Opened() bool
	Done() <-chan struct{}
	Err() error
	Dial(ctx context.Context, service string) (net.Conn, error)
	Serve(ctx context.Context, service string, l net.Listener) error
	Close() error
}

// isShared reports whether the command shares its tunnel. --new and --debug ask for one of their own.
func (o *reachOptions) isShared() bool {
	return holder.Supported && !o.share.alone && o.share.persist > 0 && !o.fresh && !o.aws.debug
}

// notSharedError says why a command that may share a tunnel has one to itself.
type notSharedError struct{ err error }

func (e *notSharedError) Error() string { return "the tunnel is not shared: " + e.err.Error() }

// open returns a tunnel to thing with the services: the holder's, or one of this command's own.
func (o *reachOptions) open(ctx context.Context, cmd *cobra.Command, cfg connect.Config, show *progress, thing string, services []string) (tunnel, error) {
	if !o.isShared() {
		return connect.Open(ctx, cfg, thing, services...)
	}
	t, err := o.attach(ctx, cmd, cfg, show, thing, services)
	if e, ok := errors.AsType[*notSharedError](err); ok {
		show.note("%v", e)
		return connect.Open(ctx, cfg, thing, services...)
	}
	return t, err
}

// attach returns a tunnel of the holder, or a *notSharedError if it cannot get one.
func (o *reachOptions) attach(ctx context.Context, cmd *cobra.Command, cfg connect.Config, show *progress, thing string, services []string) (tunnel, error) {
	if err := cfg.Check(thing, services); err != nil {
		return nil, err
	}
	dir, err := holder.Directory()
	if err != nil {
		return nil, &notSharedError{err}
	}
	key := o.key(thing)
	words, err := connectWords(cmd.Flags())
	if err != nil {
		return nil, err
	}
	command := append([]string{words[0], "hold", "--key", key, "--dir", dir}, knownWords(newHoldCommand().Flags(), cmd.Flags())...)
	c := &holder.Client{Thing: thing, Dir: dir, Key: key, Version: version.Get().String(), Command: append(command, "--", thing)}
	t, err := c.Attach(ctx, holder.Request{
		Services: services, Lifetime: o.lifetime, Wait: o.wait, TakeOver: o.takeOver, Price: o.share.price,
		Persist: o.share.persist, Keep: o.keep, Away: cfg.WaitForAway,
	}, show.event)
	if errors.Is(err, holder.ErrSilent) {
		return nil, &notSharedError{err}
	}
	return t, err
}

// key is made of everything that selects the tunnel and the caller. It makes no call: a profile's temporary credentials
// may change while its holder lives.
func (o *reachOptions) key(thing string) string {
	cfg := o.loaded
	endpoint := aws.ToString(iot.NewFromConfig(cfg).Options().BaseEndpoint)
	home, _ := os.UserHomeDir()
	parts := []string{
		thing, cfg.Region, endpoint, home, o.dataEndpointURL(), o.destination, absolute(cmp.Or(o.aws.CABundle, os.Getenv("AWS_CA_BUNDLE"))),
		strconv.FormatBool(o.aws.NoVerifySSL), strconv.FormatBool(o.aws.NoSignRequest), o.resume.String(),
	}
	for _, source := range cfg.ConfigSources {
		switch s := source.(type) {
		case config.EnvConfig:
			from := s
			if o.aws.Profile != "" { // --profile takes precedence
				from = config.EnvConfig{}
			}
			parts = append(parts, from.Credentials.AccessKeyID, from.WebIdentityTokenFilePath, from.RoleARN, from.ContainerCredentialsEndpoint, from.ContainerCredentialsRelativePath)
			parts = append(parts, s.SharedCredentialsFile, s.SharedConfigFile)
		case config.SharedConfig:
			parts = append(parts, s.Profile, s.Credentials.AccessKeyID, s.RoleARN)
		}
	}
	return holder.Key(parts...)
}

func absolute(path string) string {
	if path == "" {
		return ""
	}
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// sharedConfig is config, with the environment's settings for sharing.
func (o *reachOptions) sharedConfig(ctx context.Context, cmd *cobra.Command, show *progress) (connect.Config, error) {
	if err := o.share.resolve(cmd.Flags()); err != nil {
		return connect.Config{}, err
	}
	return o.config(ctx, show, cmd.ErrOrStderr())
}
