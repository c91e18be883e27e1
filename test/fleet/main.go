// Command fleet runs a sandbox and a fleet of devices in one process, and prints the environment that leads culvert to
// it, to try ls, exec and outages with:
//
//	go run ./test/fleet -n 200 > env &
//	. ./env; culvert ls; culvert exec --yes 'dev-*' -- true
//
// The devices are the real agents. They are here and not in culvert sandbox since the operator's command never links the
// agent.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/culvert-iot/culvert/agent"
	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/sandbox"
)

func main() {
	n := flag.Int("n", 100, "`number` of devices")
	ssh := flag.String("ssh", "127.0.0.1:22", "`address` of the SSH server that all of them offer")
	flag.Parse()
	if err := run(*n, *ssh); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(n int, ssh string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	box, err := sandbox.Start(ctx, sandbox.Config{Things: []string{"away-1"}, Services: map[string]string{"SSH": ssh}})
	if err != nil {
		return err
	}
	defer box.Close()
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for i := range n {
		thing := fmt.Sprintf("dev-%04d", i+1)
		files, err := box.Device(thing)
		if err != nil {
			return err
		}
		cfg, err := config.Load(files.ConfigFile)
		if err != nil {
			return err
		}
		a := agent.New(cfg, agent.Options{Logger: slog.New(slog.DiscardHandler)})
		running.Go(func() {
			if err := a.Run(ctx); err != nil {
				fmt.Fprintf(os.Stderr, "fleet: %s: %v\n", thing, err)
			}
		})
		select {
		case <-a.Subscribed():
		case <-ctx.Done():
			return nil
		}
	}
	for _, v := range []string{
		"AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=thing", "AWS_REGION=" + box.Region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ENDPOINT_URL=" + box.APIURL, "AWS_CA_BUNDLE=" + filepath.Join(box.Dir, "ca.pem"), "CULVERT_DATA_ENDPOINT=" + box.RelayURL,
	} {
		fmt.Fprintln(os.Stdout, "export", v)
	}
	fmt.Fprintf(os.Stderr, "fleet: %d devices are there; Ctrl-C ends them\n", n)
	<-ctx.Done()
	return nil
}
