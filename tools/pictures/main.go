// Command pictures draws what docs/ shows, as SVG: a terminal session, and the panels of the Grafana dashboard with
// figures that were scraped from a daemon. scripts/pictures calls it.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "scrape":
		return scrape(args[1], args[2])
	case len(args) == 3 && args[0] == "session":
		return session(args[1], args[2])
	case len(args) == 4 && args[0] == "dashboard":
		return dashboard(args[1], args[2], args[3])
	}
	return fmt.Errorf("usage: pictures scrape SOCKET FILE | session TYPESCRIPT SVG | dashboard JSON FIGURES SVG")
}
