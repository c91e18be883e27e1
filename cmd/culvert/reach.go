package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/internal/tlsdial"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/presence"
	"github.com/culvert-iot/culvert/proxy"
)

// Exit codes of connect, and with them of ssh's ProxyCommand.
const (
	exitAbsent      = 4   // the device did not connect in time
	exitGone        = 5   // the tunnel was closed, has expired, or another source took it over
	exitInterrupted = 130 // before there was a connection; 128 + SIGINT, as shells have it
)

// exitCodesHelp is for the help of the commands that have them.
const exitCodesHelp = "Exit codes: 0 ended on request or with the connection, 1 failed, 2 wrong usage, 4 the device " +
	"did not connect in time, 5 the tunnel was closed, has expired or was taken over, 130 " +
	"interrupted before there was a connection."

// dataEndpointVariable is the environment's --data-endpoint.
const dataEndpointVariable = "CULVERT_DATA_ENDPOINT"

// reachOptions are the flags of the commands that reach a thing.
type reachOptions struct {
	aws    reachAWS
	share  shareOptions
	loaded aws.Config // by config

	dataEndpoint, destination      string
	lifetime, wait, resume         time.Duration
	fresh, takeOver, keep, isQuiet bool
	noLook                         bool
	many                           bool   // the command reaches several things at once
	waiting                        func() // called then before waits: see [operator.ForMany]; may be nil

	given *pflag.FlagSet
}

func (o *reachOptions) register(f *pflag.FlagSet) {
	f.BoolVar(&o.keep, "keep", false, "leave the tunnel open at the end, to be used again, and void its source's token")
	f.BoolVar(&o.fresh, "new", false, "open a tunnel even if there is one, and keep it to this command")
	f.BoolVar(&o.takeOver, "take-over", false, "use an open tunnel even if another source is connected to it, and end that session")
	f.DurationVar(&o.lifetime, "lifetime", 12*time.Hour, "`time` that an opened tunnel lasts at most, in whole minutes")
	f.DurationVar(&o.wait, "wait", connect.DefaultWait, "`time` to wait for the device; one that AWS IoT knows to have left more than a minute ago is waited for only if this is given")
	f.BoolVarP(&o.isQuiet, "quiet", "q", false, "say nothing but errors")
	o.registerWay(f)
}

// registerWay registers the flags that say how and as whom things are reached: the ones that a holder needs as well.
func (o *reachOptions) registerWay(f *pflag.FlagSet) {
	f.BoolVar(&o.noLook, "no-look", false, "do not ask AWS IoT whether the device is connected")
	f.DurationVar(&o.resume, "resume-timeout", proxy.DefaultResumeTimeout, "`time` that connections are kept when the tunnel is lost; 0 keeps none")
	f.StringVar(&o.destination, "destination-client-type", "auto", "`version` of the protocol that the device's side speaks: V1 (the AWS IoT Device Client, Greengrass), V2, V3, or auto: V3, and V1 once that is evident")
	f.StringVar(&o.dataEndpoint, "data-endpoint", "", "`URL` wss://host[:port] to connect to instead of the region's data endpoint; environment: "+dataEndpointVariable)
	o.aws.register(f)
	o.given = f
}

// dataEndpointURL is the data endpoint that a flag or the environment names.
func (o *reachOptions) dataEndpointURL() string {
	return cmp.Or(o.dataEndpoint, os.Getenv(dataEndpointVariable))
}

// config loads what AWS needs and puts the rest beside it.
func (o *reachOptions) config(ctx context.Context, show *progress, log io.Writer) (connect.Config, error) {
	if o.aws.readTimeout < 0 || o.aws.connectTimeout < 0 {
		return connect.Config{}, &connect.Error{Reason: connect.BadRequest, Text: "--cli-read-timeout and --cli-connect-timeout are seconds, 0 for no limit"}
	}
	if o.wait <= 0 {
		return connect.Config{}, &connect.Error{Reason: connect.BadRequest, Text: fmt.Sprintf("--wait %v: the device needs some time, 1s at least", o.wait)}
	}
	options := o.aws.options(log)
	loaded, err := operator.LoadConfig(ctx, options)
	if err != nil {
		return connect.Config{}, err
	}
	if o.many {
		loaded = operator.ForMany(loaded, o.waiting)
	}
	cfg := connect.FromAWS(loaded)
	o.loaded = loaded
	cfg.DataEndpoint = o.dataEndpointURL()
	cfg.Lifetime, cfg.Wait, cfg.Destination = o.lifetime, o.wait, connect.DestinationType(o.destination)
	if cfg.ResumeTimeout = o.resume; o.resume <= 0 {
		cfg.ResumeTimeout = -1
	}
	cfg.New, cfg.TakeOver, cfg.Keep, cfg.Price = o.fresh, o.takeOver, o.keep, o.share.price
	if cfg.WaitForAway = o.given.Changed("wait"); !o.noLook {
		cfg.Presence = presence.New(loaded).Look
	}
	cfg.Progress = show.event
	if options.Debug != nil {
		cfg.Logger = options.Debug
	} else {
		cfg.Logger = slog.New(warnings{show})
	}
	tlsdial.SetLogger(cfg.Logger)
	return cfg, nil
}

// sameSignal is how long one more signal is still the first one: timeout(1) sends two, one to the process and one to its
// group, and so does a terminal that goes away.
const sameSignal = time.Second

// untilSignal returns a context that ends with a signal that asks the program to end; one more, a while later,
// kills. SIGHUP is how ssh ends its ProxyCommand, and a terminal that goes away after that sends one more, which
// means nothing new. A signal that the program was started to ignore, as nohup does with SIGHUP, stays ignored.
// Writing to a reader that has left is an error and not the end: the tunnel is still to be closed.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGPIPE)
	return untilInterrupted(ctx)
}

// untilInterrupted is [untilSignal] for a command that only asks: it has nothing to close, so a reader that leaves, as
// head does, ends it.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	got := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) {
			signal.Notify(got, s)
		}
	}
	go func() {
		select {
		case <-got:
			cancel()
		case <-ctx.Done():
		}
		time.AfterFunc(sameSignal, func() {
			signal.Ignore(syscall.SIGHUP)
			signal.Stop(got)
		})
	}()
	return ctx, cancel
}

// notifyContext is [untilSignal] for a process that becomes another program: it leaves no signal ignored.
func notifyContext(ctx context.Context) (context.Context, context.CancelFunc) {
	var wanted []os.Signal
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) {
			wanted = append(wanted, s)
		}
	}
	if len(wanted) == 0 {
		return context.WithCancel(ctx)
	}
	return signal.NotifyContext(ctx, wanted...)
}

// reachError puts an error into words, with a hint and an exit code.
func reachError(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	if done, ok := errors.AsType[*exitError](err); ok {
		return done
	}
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return &exitError{exitFailed, operator.Explain(err)}
	}
	code := exitFailed
	switch e.Reason {
	case connect.BadRequest:
		return usagef(cmd, "%w", err)
	case connect.DeviceAbsent:
		code = exitAbsent
	case connect.TunnelClosed, connect.TakenOver:
		code = exitGone
	case connect.NoDataPlane, connect.LinkLost, connect.DeviceGone, connect.ConnectionReset, connect.ServiceRefused:
	}
	return &exitError{code, err}
}
