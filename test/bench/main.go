package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// options are what the command line says.
type options struct {
	rounds   int
	works    []string
	paths    []string
	peer     string // path of the other proxy; "": none
	culvert  string
	culvertd string
	out      string // file that results are appended to; "": none
	show     string // file whose results are shown instead of measuring
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Parts that run as processes of their own, perhaps in the device's network name space.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "targets":
			exit(serveTargets(ctx, os.Stdout))
		case "profiled-device":
			exit(profiledDevice(ctx, os.Args[2:]))
		case "plain-device":
			exit(plainDevice(ctx, os.Args[2:], os.Stdout))
		case "plain-source":
			exit(plainSource(ctx, os.Args[2:], os.Stdout))
		}
	}
	exit(command(ctx, os.Args[1:], os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func command(ctx context.Context, args []string, out io.Writer) error {
	var opts options
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.IntVar(&opts.rounds, "rounds", 3, "how often each contender is measured, in turn")
	only := flags.String("works", "", "what to measure: names by comma, "+strings.Join(workNames(), ",")+" (default: all)")
	where := flags.String("paths", "", "on which paths: names by comma, "+strings.Join(pathNames(), ",")+" (default: those that suit)")
	flags.StringVar(&opts.peer, "peer", os.Getenv("LOCALPROXY"), "the other proxy's program; it takes localproxy's options")
	flags.StringVar(&opts.culvert, "culvert", "bin/culvert", "the operator's program")
	flags.StringVar(&opts.culvertd, "culvertd", "bin/culvertd", "the daemon")
	flags.StringVar(&opts.out, "out", "", "append the results to this file, JSON lines")
	flags.StringVar(&opts.show, "show", "", "show the results in this file and measure nothing")
	drawn := flags.String("draw", "", "draw the results in -show's file to this SVG and measure nothing")
	profiles := flags.String("profile", "", "only profile the device's side while bulk passes, and write the profiles to this directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if opts.show != "" {
		results, err := readResults(opts.show)
		if err != nil {
			return err
		}
		if *drawn != "" {
			return draw(results, *drawn)
		}
		return show(out, results)
	}
	var err error
	if opts.works, err = named("work", *only, workNames()); err != nil {
		return err
	}
	if opts.paths, err = named("path", *where, pathNames()); err != nil {
		return err
	}
	// They run in another directory.
	for _, program := range []*string{&opts.peer, &opts.culvert, &opts.culvertd} {
		if *program == "" {
			continue
		}
		if *program, err = filepath.Abs(*program); err != nil {
			return err
		}
		if _, err := os.Stat(*program); err != nil {
			return err
		}
	}
	if *profiles != "" {
		dir, err := filepath.Abs(*profiles)
		if err != nil {
			return err
		}
		return profile(ctx, opts, dir)
	}
	results, err := measure(ctx, opts, os.Stderr)
	if e := show(out, results); err == nil {
		err = e
	}
	return err
}

// named reads a list of names; an empty one means all.
func named(what, list string, known []string) ([]string, error) {
	if list == "" {
		return known, nil
	}
	names := strings.Split(list, ",")
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("no %s is named %q; there are %s", what, n, strings.Join(known, ", "))
		}
	}
	return names, nil
}
