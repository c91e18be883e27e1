package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"github.com/culvert-iot/culvert/operator"
)

// reachAWS are the AWS CLI's global options that mean something to a command that reaches a thing.
type reachAWS struct {
	operator.Options

	readTimeout, connectTimeout int // seconds; 0 waits indefinitely
	debug                       bool
}

func (o *reachAWS) register(f *pflag.FlagSet) {
	f.StringVar(&o.Profile, "profile", "", "`name` in the shared configuration files")
	f.StringVar(&o.Region, "region", "", "AWS `region`")
	f.StringVar(&o.EndpointURL, "endpoint-url", "", "`URL` of the control API")
	f.StringVar(&o.CABundle, "ca-bundle", "", "PEM `file` of the authorities to trust, also at the data endpoint")
	f.BoolVar(&o.NoVerifySSL, "no-verify-ssl", false, "trust any certificate, also at the data endpoint")
	f.BoolVar(&o.NoSignRequest, "no-sign-request", false, "call without credentials")
	f.IntVar(&o.readTimeout, "cli-read-timeout", 60, "`seconds`; 0 waits indefinitely")
	f.IntVar(&o.connectTimeout, "cli-connect-timeout", 60, "`seconds`; 0 waits indefinitely")
	f.BoolVar(&o.debug, "debug", false, "log calls and connections")
}

// options returns them as the operator package takes them; log is where --debug writes to.
func (o *reachAWS) options(log io.Writer) operator.Options {
	seconds := func(n int) time.Duration {
		if n <= 0 {
			return -1
		}
		return time.Duration(n) * time.Second
	}
	out := o.Options
	out.ReadTimeout, out.ConnectTimeout = seconds(o.readTimeout), seconds(o.connectTimeout)
	if o.debug {
		out.Debug = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return out
}
