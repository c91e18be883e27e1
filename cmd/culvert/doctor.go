package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/netdial"
	"github.com/culvert-iot/culvert/internal/textwrap"
	"github.com/culvert-iot/culvert/internal/tlsdial"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/doctor"
)

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	aws reachAWS

	dataEndpoint string
	timeout      time.Duration
	json         bool
}

func newDoctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [flags] THING",
		Short: "Find out why a device cannot be reached",
		Long: "Looks at everything between you and a device that AWS and this machine can tell: credentials, clock, thing, " +
			"certificate and policy, the connection of its culvertd, its subscription, open tunnels, and the data " +
			"endpoint. It changes nothing and opens no tunnel. On the device, culvertd check looks at the rest.\n\n" +
			"What the caller may not see is marked –, with the permission that it takes.\n\n" +
			"Exit codes: 0 nothing failed, 1 something did, 2 wrong usage.",
		Example: "  culvert doctor pi-1\n" +
			"  culvert doctor pi-1 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef(cmd, "which thing? One is looked at at a time")
			}
			if err := validThing(args[0]); err != nil {
				return usagef(cmd, "%w", err)
			}
			if o.timeout <= 0 {
				return usagef(cmd, "--timeout must be more than 0")
			}
			return runDoctor(cmd, &o, args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "`time` for everything")
	f.StringVar(&o.dataEndpoint, "data-endpoint", "", "`URL` wss://host[:port] of the data endpoint, if it is not the region's; environment: "+dataEndpointVariable)
	o.aws.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(1)
	return cmd
}

func runDoctor(cmd *cobra.Command, o *doctorOptions, thing string) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	options := o.aws.options(cmd.ErrOrStderr())
	cfg := doctor.Config{Thing: thing}
	var err error
	if cfg.AWS, err = operator.LoadConfig(ctx, options); err != nil {
		return lsError(err)
	}
	options.EndpointURL = ""
	if cfg.STS, err = operator.LoadConfig(ctx, options); err != nil {
		return lsError(err)
	}
	if err := o.reach(&cfg); err != nil {
		return usagef(cmd, "%w", err)
	}
	out := cmd.OutOrStdout()
	if !o.json {
		cfg.Show = func(r doctor.Result) { printResult(out, r) }
	}
	report := doctor.Run(ctx, cfg)
	if errors.Is(ctx.Err(), context.Canceled) {
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	}
	if !report.Well {
		if o.json {
			return &exitError{code: exitFailed}
		}
		return &exitError{exitFailed, hint.New(thing+" cannot be reached as it should be", "fix the items marked ✗; on the device: sudo culvertd check")}
	}
	return nil
}

// reach says how the data endpoint is dialled.
func (o *doctorOptions) reach(cfg *doctor.Config) error {
	text := o.dataEndpoint
	if text == "" {
		text = os.Getenv(dataEndpointVariable)
	}
	secure := true
	if text == "" {
		host, err := endpoints.Data(cfg.AWS.Region)
		if err != nil {
			return nil //nolint:nilerr // doctor itself says that the region is missing
		}
		cfg.DataEndpoint = host
	} else {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "wss" && u.Scheme != "ws" {
			return fmt.Errorf("--data-endpoint %q: wss://host[:port] is needed", text)
		}
		cfg.DataEndpoint, secure = u.Host, u.Scheme == "wss"
	}
	host, _, err := net.SplitHostPort(cfg.DataEndpoint)
	if err != nil {
		host = cfg.DataEndpoint
		cfg.DataEndpoint = net.JoinHostPort(host, "443")
	}
	config := operator.TLSConfig(cfg.AWS)
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName = host
	dialer := netdial.FromEnvironment()
	address := cfg.DataEndpoint
	cfg.Dial = func(ctx context.Context) (doctor.Reached, error) {
		var reached doctor.Reached
		connect := func(ctx context.Context) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			if proxy, _, err := dialer.Via(address); err == nil && proxy == "" {
				reached.Address = doctor.AddressOf(conn.RemoteAddr())
			}
			return conn, nil
		}
		if !secure {
			conn, err := connect(ctx)
			if err != nil {
				return reached, err
			}
			return reached, conn.Close()
		}
		conn, err := tlsdial.Dial(ctx, address, config, connect)
		if err != nil {
			return reached, err
		}
		reached.SmallHello = tlsdial.NeedsSmallHello(address)
		return reached, conn.Close()
	}
	return nil
}

// printResult writes an item as culvertd check does.
func printResult(w io.Writer, r doctor.Result) {
	mark := map[doctor.Status]string{doctor.OK: "✓", doctor.Warning: "!", doctor.Failed: "✗", doctor.Skipped: "–"}[r.Status]
	const width = 80
	label := fmt.Sprintf("%s %-15s ", mark, map[string]string{
		"data_endpoint": "data endpoint", "client_id": "client id",
	}[r.ID])
	if label == fmt.Sprintf("%s %-15s ", mark, "") {
		label = fmt.Sprintf("%s %-15s ", mark, r.ID)
	}
	fmt.Fprint(w, textwrap.Hanging(label, r.Text, width))
	if r.Remedy != "" {
		fmt.Fprint(w, textwrap.Hanging(fmt.Sprintf("%18s→ ", ""), r.Remedy, width))
	}
}
