package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/operator"
	"github.com/culvert-iot/culvert/operator/connect"
	"github.com/culvert-iot/culvert/operator/iotdata"
	"github.com/culvert-iot/culvert/operator/presence"
	"github.com/culvert-iot/culvert/operator/retries"
)

// pingOptions are the flags of ping, which are those of ping(8).
type pingOptions struct {
	aws reachAWS

	count    int
	interval time.Duration
	timeout  time.Duration
	quiet    bool
}

func newPingCommand() *cobra.Command {
	var o pingOptions
	cmd := &cobra.Command{
		Use:   "ping [flags] THING",
		Short: "Check that a device's culvertd answers",
		Long: "Sends messages through AWS IoT to the MQTT client of the thing's culvertd and shows how long each " +
			"acknowledgement took, and culvertd's version, uptime and services. It opens no tunnel and " +
			"costs no more than messages do.\n\n" +
			"The caller needs iot:DescribeEndpoint, and iot:SendDirectMessage and iot:GetConnection on " +
			"client/THING-tunnel. The device's policy must allow iot:Receive on topic/culvert/THING/ping. Without " +
			"the permission to send messages, ping shows what AWS knows of the connection.\n\n" +
			"A device answers if mqtt.answer_pings is on and its policy allows iot:Publish and iot:RetainPublish on " +
			"topic/culvert/THING/pong. The caller needs iot:GetRetainedMessage on the same topic to read it.\n\n" +
			"A message that does not reach the device counts as lost, with a line that says why, and the next one follows. " +
			"ping stops at its first message only if the thing does not exist, or if credentials or a permission are " +
			"missing.\n\n" +
			"Exit codes: 0 the device answered, 1 it did not, 2 something else is wrong.",
		Example: "  culvert ping pi-1\n" +
			"  culvert ping -c 1 -q pi-1 && culvert ssh pi-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef(cmd, "which thing? One is asked at a time")
			}
			if err := validThing(args[0]); err != nil {
				return usagef(cmd, "%w", err)
			}
			if o.count < 0 || o.interval < 0 || o.timeout < time.Second {
				return usagef(cmd, "-c and -i cannot be negative, and -W is 1s at least")
			}
			return runPing(cmd, &o, args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVarP(&o.count, "count", "c", 4, "`number` of messages; 0 goes on until Ctrl-C")
	f.DurationVarP(&o.interval, "interval", "i", time.Second, "`time` between messages")
	f.DurationVarP(&o.timeout, "timeout", "W", 5*time.Second, "`time` to wait for an acknowledgement, in whole seconds")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the summary only")
	o.aws.register(f)
	reachHelp(cmd)
	cmd.ValidArgsFunction = completeThings(1)
	return cmd
}

// Exit codes of ping(8).
const (
	exitNoAnswer  = 1
	exitPingOther = 2
)

func runPing(cmd *cobra.Command, o *pingOptions, thing string) error {
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	out := cmd.OutOrStdout()
	cfg, err := operator.LoadConfig(ctx, o.aws.options(cmd.ErrOrStderr()))
	if err != nil {
		return pingError(err)
	}
	client, exists := presence.New(cfg), connect.FromAWS(cfg)
	if !o.quiet {
		fmt.Fprintf(out, "PING %s (MQTT client %s)\n", thing, presence.ClientID(thing))
	}
	var times roundTrips
	var refusal error               // of the last message, if the caller may not send any
	var answer <-chan answerOrError // culvertd's answer about itself; nil until a message was acknowledged
	for seq := 1; o.count == 0 || seq <= o.count; seq++ {
		var took time.Duration
		if answer != nil {
			took, err = client.Ping(ctx, thing, o.timeout)
		} else {
			var mark string
			if mark, took, err = client.Ask(ctx, thing, o.timeout); err == nil {
				answer = await(ctx, client, thing, mark)
			}
		}
		if seq == 1 && err != nil && ctx.Err() == nil && !passes(cfg, err) {
			if end := pingEnd(ctx, out, client, exists, thing, err); end != nil {
				return end
			}
		}
		refusal = nil
		line := ""
		switch {
		case ctx.Err() != nil:
			times.sent++
		case err == nil:
			times.add(took)
			line = fmt.Sprintf("acknowledged: seq=%d time=%s", seq, milliseconds(took))
		default:
			times.sent++
			line = o.lost(seq, err)
			if iotdata.IsDenied(err) {
				refusal = err
			}
		}
		if line != "" && !o.quiet {
			fmt.Fprintln(out, line)
		}
		if o.count > 0 && seq == o.count {
			break
		}
		select {
		case <-time.After(o.interval):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	times.print(out, thing)
	if len(times.list) > 0 {
		printAnswer(out, thing, <-answer, o.quiet)
		return nil
	}
	look, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastLook, cancel) })()
	state, err := client.Look(look, thing)
	switch {
	case err != nil && ctx.Err() != nil && refusal == nil: // the statistics say it all
		return &exitError{exitNoAnswer, hint.New(thing+" acknowledged nothing", doctorHint(thing))}
	case err != nil:
		return pingError(cmp.Or(refusal, err))
	}
	return pingState(look, out, state, exists, thing, refusal)
}

// lastLook is how long the look at a connection that ends ping may take after an interrupt.
const lastLook = 2 * time.Second

func doctorHint(thing string) string { return "culvert doctor " + thing + " finds out why" }

// lost is the line of a message that was not acknowledged.
func (o *pingOptions) lost(seq int, err error) string {
	switch {
	case iotdata.IsTimeout(err):
		return fmt.Sprintf("no acknowledgement within %v: seq=%d", o.timeout, seq)
	case iotdata.IsNotFound(err):
		return fmt.Sprintf("not connected: seq=%d", seq)
	}
	return fmt.Sprintf("failed: seq=%d: %s", seq, hint.Line(operator.Explain(err)))
}

// passes reports whether an error may be over when the next message is sent: the device was slow, AWS was busy, or the
// network was away. Missing credentials may look like the latter.
func passes(cfg aws.Config, err error) bool {
	return iotdata.IsTimeout(err) || operator.KindOf(err) != operator.Configuration && retries.Of(cfg).IsErrorRetryable(err)
}

// pingEnd returns how ping ends at an error of its first message that does not pass; nil: the device may come.
func pingEnd(ctx context.Context, out io.Writer, client *presence.Client, exists connect.Config, thing string, err error) error {
	switch {
	case iotdata.IsNotFound(err): // the client is not connected
		if state, err := client.Look(ctx, thing); err == nil && !state.Known {
			if err := exists.CheckThing(ctx, thing); err != nil {
				return &exitError{exitPingOther, err}
			}
		}
		return nil
	case iotdata.IsDenied(err):
		state, lookErr := client.Look(ctx, thing)
		if lookErr != nil {
			return pingError(err)
		}
		return pingState(ctx, out, state, exists, thing, err)
	}
	return pingError(err)
}

type answerOrError struct {
	presence.Answer
	err error
}

// await waits for a device's answer while further messages go out.
func await(ctx context.Context, client *presence.Client, thing, mark string) <-chan answerOrError {
	done := make(chan answerOrError, 1)
	go func() {
		a, err := client.Answer(ctx, thing, mark)
		done <- answerOrError{a, err}
	}()
	return done
}

// printAnswer prints culvertd's version, uptime and services, or why they are unknown: pings work without them.
func printAnswer(out io.Writer, thing string, a answerOrError, quiet bool) {
	var reason string
	switch {
	case a.err == nil:
		fmt.Fprintln(out, a.Describe())
		return
	case quiet, errors.Is(a.err, context.Canceled):
		return
	case errors.Is(a.err, presence.ErrNoAnswer):
		reason = "the device does not answer (answer_pings in its culvertd.toml)"
	case iotdata.IsDenied(a.err):
		reason = "the caller lacks iot:GetRetainedMessage on topic/" + presence.PongTopic(thing)
	default:
		reason = hint.Line(operator.Explain(a.err))
	}
	fmt.Fprintln(out, "version, uptime and services are not known:", reason)
}

// pingState prints what AWS knows of a device that did not answer, or that the caller may not send messages to. cause
// is why it may not; nil if messages were sent.
func pingState(ctx context.Context, out io.Writer, state presence.State, exists connect.Config, thing string, cause error) error {
	if !state.Known {
		if err := exists.CheckThing(ctx, thing); err != nil {
			return &exitError{exitPingOther, err}
		}
	}
	fmt.Fprintln(out, state.Describe(thing, time.Now()))
	switch {
	case iotdata.IsDenied(cause):
		advice := "allow iot:SendDirectMessage on client/" + state.ClientID + " to measure round trips"
		if denial, named := operator.DenialOf(cause); named {
			advice = denial.Remedy("iot:SendDirectMessage on client/" + state.ClientID)
		}
		if state.Connected {
			return &exitError{exitPingOther, hint.New("the caller may not send messages to it", advice)}
		}
		return &exitError{exitNoAnswer, hint.New("the caller may not send messages to it", advice)}
	case state.Connected:
		return &exitError{exitNoAnswer, hint.Wrap(
			fmt.Errorf("%s is connected and acknowledged nothing", state.ClientID),
			"its policy must allow iot:Receive on topic/"+presence.PingTopic(thing)+"; a link that broke a moment ago looks the same")}
	}
	return &exitError{exitNoAnswer, hint.New(thing+" does not answer", doctorHint(thing))}
}

func pingError(err error) error {
	if errors.Is(err, context.Canceled) {
		return &exitError{exitInterrupted, errors.New("interrupted")}
	}
	return &exitError{exitPingOther, operator.Explain(err)}
}

// roundTrips counts and sums up as ping(8) does.
type roundTrips struct {
	sent int
	list []time.Duration
}

func (r *roundTrips) add(d time.Duration) {
	r.sent++
	r.list = append(r.list, d)
}

func (r *roundTrips) print(w io.Writer, thing string) {
	lost := 0.0
	if r.sent > 0 {
		lost = 100 * float64(r.sent-len(r.list)) / float64(r.sent)
	}
	fmt.Fprintf(w, "\n--- %s ping statistics ---\n%d sent, %d acknowledged, %.0f%% lost\n", thing, r.sent, len(r.list), lost)
	if len(r.list) == 0 {
		return
	}
	least, most, sum, squares := r.list[0], r.list[0], 0.0, 0.0
	for _, d := range r.list {
		least, most = min(least, d), max(most, d)
		sum += d.Seconds()
		squares += d.Seconds() * d.Seconds()
	}
	n := float64(len(r.list))
	mean := sum / n
	deviation := math.Sqrt(max(0, squares/n-mean*mean))
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	fmt.Fprintf(w, "round trip min/avg/max/mdev = %s\n", strings.Join([]string{
		milliseconds(least), milliseconds(seconds(mean)), milliseconds(most), milliseconds(seconds(deviation)),
	}, " / "))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
