package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	agents := flag.Int("agents", 1000, "`number` of real agents")
	outage := flag.Duration("outage", 10*time.Minute, "`time` that the region is gone")
	out := flag.String("o", "", "`file` to write what was measured with real agents to")
	picture := flag.String("draw", "", "`file` to draw to, from test/night/testdata/night.json and the model")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case *picture != "":
		err = draw(*picture)
	case *out != "":
		var n *Night
		if n, err = measure(ctx, *agents, *outage); err == nil {
			err = n.write(*out)
		}
	default:
		err = fmt.Errorf("-o or -draw is needed")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "night:", err)
		os.Exit(1)
	}
}
