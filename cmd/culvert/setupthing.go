package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/openssh"
	"github.com/culvert-iot/culvert/operator/setup"
	"github.com/culvert-iot/culvert/services"
)

// setupOptions are the flags of setup-thing.
type setupOptions struct {
	aws reachAWS

	account, policy, output, caFile, dataEndpoint string
	services                                      []string
	dryRun, another                               bool
}

func newSetupThingCommand() *cobra.Command {
	var o setupOptions
	cmd := &cobra.Command{
		Use:   "setup-thing [flags] THING",
		Short: "Register a device with AWS IoT, with a bundle",
		Long: "Makes a thing, a policy that allows only what tunnels need, and a certificate whose " +
			"private key is made on this machine, and writes what the device needs into one file. " +
			"Copy the file to the device and run sudo culvertd init --bundle FILE there. The file " +
			"holds the private key; only you can read it.\n\n" +
			"The policy is printed first. What exists already is kept: after a failure, run the " +
			"same command again. A thing that has a certificate gets another only with " +
			"--new-certificate. A policy that an earlier culvert wrote gets a new default version.\n\n" +
			"The caller needs iot:DescribeEndpoint, DescribeThing, CreateThing, GetPolicy, " +
			"CreatePolicy, ListThingPrincipals, ListAttachedPolicies, CreateCertificateFromCsr, " +
			"DescribeCertificate, AttachPolicy and AttachThingPrincipal; to update a policy, " +
			"CreatePolicyVersion, ListPolicyVersions and DeletePolicyVersion.",
		Example: "  culvert setup-thing --dry-run my-pi\n" +
			"  culvert setup-thing my-pi --service SSH=22 --service WEB=localhost:8080",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef(cmd, "which thing? One is set up at a time")
			}
			return runSetupThing(cmd, &o, args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.dryRun, "dry-run", false, "print the policy and what would be made, and make nothing")
	f.StringVarP(&o.output, "output", "o", "", "`file` to write; by default culvert-THING.tar in this directory")
	f.StringArrayVar(&o.services, "service", nil, "`NAME=ADDRESS` of a service of the device, repeatable; by default SSH=22")
	f.StringVar(&o.policy, "policy-name", "", "`name` of the policy; by default culvert-THING")
	f.BoolVar(&o.another, "new-certificate", false, "make a certificate even if the thing has one")
	f.StringVar(&o.account, "account", "", "`number` of the AWS account; by default AWS STS is asked")
	f.StringVar(&o.caFile, "ca-file", "", "PEM `file` of the authorities that the device trusts instead of its system's: for endpoints other than AWS's")
	f.StringVar(&o.dataEndpoint, "data-endpoint", "", "`URL` wss://host[:port] for the device to connect to instead of the region's data endpoint; environment: "+dataEndpointVariable)
	o.aws.register(f)
	reachHelp(cmd)
	return cmd
}

// config loads the configuration for AWS and adds that of the device.
func (o *setupOptions) config(cmd *cobra.Command, thing string) (cfg setup.Config, err error) {
	cfg = setup.Config{Thing: thing, Account: o.account, PolicyName: o.policy, Output: o.output, NewCertificate: o.another}
	if cfg.Output == "" {
		cfg.Output = "culvert-" + strings.ReplaceAll(thing, ":", ".") + ".tar"
	}
	if cfg.Device.DataEndpoint = o.dataEndpoint; o.dataEndpoint == "" {
		cfg.Device.DataEndpoint = os.Getenv(dataEndpointVariable)
	}
	for _, s := range o.services {
		name, address, ok := strings.Cut(s, "=")
		if !ok || !services.ValidName(name) {
			return cfg, usagef(cmd, "--service %q: NAME=ADDRESS is needed, as in SSH=22", s)
		}
		if _, _, err := services.ParseAddress(address); err != nil {
			return cfg, usagef(cmd, "--service %q: %w", s, err)
		}
		cfg.Device.Services = append(cfg.Device.Services, [2]string{name, address})
	}
	if o.caFile != "" {
		if cfg.Device.Roots, err = os.ReadFile(o.caFile); err != nil {
			return cfg, fmt.Errorf("--ca-file: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(cfg.Device.Roots) {
			return cfg, fmt.Errorf("--ca-file: there is no certificate in PEM form in %s", o.caFile)
		}
	}
	options := o.aws.options(cmd.ErrOrStderr())
	if cfg.AWS, err = operator.LoadConfig(cmd.Context(), options); err != nil {
		return cfg, err
	}
	options.EndpointURL = ""
	cfg.STS, err = operator.LoadConfig(cmd.Context(), options)
	return cfg, err
}

func runSetupThing(cmd *cobra.Command, o *setupOptions, thing string) error {
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	cfg, err := o.config(cmd, thing)
	if err != nil {
		return operator.Explain(err)
	}
	out, say := cmd.OutOrStdout(), cmd.ErrOrStderr()
	cfg.Report = func(text string) { fmt.Fprintf(say, "culvert: %s\n", text) }
	plan, err := setup.NewPlan(ctx, cfg)
	if bad, ok := errors.AsType[*setup.BadRequestError](err); ok {
		return usagef(cmd, "%w", bad)
	}
	if err != nil {
		return err
	}
	describe(out, plan, cfg)
	switch {
	case o.dryRun:
		fmt.Fprintln(say, "culvert: nothing was changed")
		return nil
	case plan.Done():
		fmt.Fprintf(say, "culvert: %s has all that it needs; nothing was changed\n", thing)
	default:
		if err := plan.Apply(ctx); err != nil {
			if failed, ok := errors.AsType[*setup.ApplyError](err); ok && len(failed.Undo) > 0 {
				fmt.Fprintf(say, "culvert: to undo what was made:\n  %s\n", strings.Join(failed.Undo, "\n  "))
			}
			return err
		}
	}
	if plan.PolicyOnly {
		fmt.Fprintf(say, "culvert: %s keeps its certificate and its configuration\n", thing)
		return nil
	}
	fmt.Fprintf(say, `culvert: %[1]s is for the device. It holds a private key: copy it safely,
culvert:   for example with: scp %[1]s DEVICE:
culvert:   set the device up with: sudo culvertd init --bundle %[2]s
culvert:   then remove the file, there and here
`, syntaxOn(runtime.GOOS).quote(cfg.Output), openssh.Quote(filepath.Base(cfg.Output)))
	return nil
}

// describe prints what exists and what would be made, and the policy in full.
func describe(out io.Writer, p *setup.Plan, cfg setup.Config) {
	there := map[bool]string{true: "is there", false: "to be made"}
	policy := there[p.Policy]
	if p.Outdated {
		policy = "is there, as an earlier culvert wrote it; to be updated"
	}
	certificate := "to be made"
	if p.PolicyOnly {
		certificate = "is there"
	}
	if p.Resumed != "" {
		certificate = "is there, in " + cfg.Output
		if !p.Attached {
			certificate += "; to be attached to the policy and the thing"
		}
	}
	fmt.Fprintf(out, "account %s, region %s, the device's endpoint %s\n\n", p.Account, p.Region, p.Endpoint)
	fmt.Fprintf(out, "  thing        %-24s %s\n", cfg.Thing, there[p.Thing])
	fmt.Fprintf(out, "  policy       %-24s %s\n", p.PolicyName, policy)
	fmt.Fprintf(out, "  certificate  %-24s %s\n", "", certificate)
	for _, arn := range p.Certificates {
		if arn != p.Resumed && !p.PolicyOnly {
			fmt.Fprintf(out, "               and another one, which keeps working: %s\n", arn)
		}
	}
	fmt.Fprintf(out, "\nThe policy:\n\n%s\n", p.PolicyDocument)
}
