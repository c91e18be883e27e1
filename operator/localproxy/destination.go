package localproxy

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/culvert-iot/culvert/proxy"
	"github.com/culvert-iot/culvert/services"
)

// unnamed stands for the service of a mapping without one until the tunnel's service is known.
const unnamed = "default"

// destination connects the tunnel's services to local targets.
type destination struct {
	cfg   *Config
	j     *journal
	table *services.Table

	resume *proxy.Resumption // of connections from culvert
}

func newDestination(cfg *Config, j *journal) *destination {
	d := &destination{cfg: cfg, j: j, table: services.NewTable(nil), resume: proxy.NewResumption(cfg.ResumeTimeout)}
	d.name(unnamed)
	return d
}

// name fills the table; a mapping without a service gets the given name.
func (d *destination) name(name string) {
	var list []services.Service
	for _, m := range d.cfg.Mappings {
		s := services.Service{Name: m.Service, Network: m.Network, Address: m.Address}
		if s.Name == "" {
			s.Name = name
		}
		list = append(list, s)
	}
	d.table.Replace(list)
}

func (d *destination) tunnel(c proxy.Connection, onOpen func(channelID, subprotocol string)) tunnel {
	return proxy.NewDestination(proxy.DestinationConfig{
		Connection: c, DialService: d.dial, DefaultService: d.defaultService,
		Logger: d.j.logger(), OnOpen: onOpen, OnServices: d.announced, Resume: d.resume, Owner: d,
	})
}

// announced is called with the tunnel's services. It logs how they differ from the mappings, which stops nothing.
func (d *destination) announced(tunnel []string) {
	bare := d.cfg.Mappings[0].Service == ""
	switch {
	case bare && len(tunnel) == 1:
		d.name(tunnel[0])
	case bare && len(tunnel) > 1:
		d.j.printf(levelError, "the tunnel has the services %s, and the target names none of them: write -d %s=TARGET",
			strings.Join(tunnel, ", "), strings.Join(tunnel, "=TARGET,"))
		return
	}
	for _, name := range tunnel {
		if s, ok := d.table.Lookup(name); ok {
			d.j.printf(levelInfo, "Service %s leads to %s", name, s.Target())
		} else {
			d.j.printf(levelWarning, "service %s of the tunnel has no target here: its connections are refused", name)
		}
	}
	for _, name := range d.cfg.services() {
		if len(tunnel) > 0 && !slices.Contains(tunnel, name) {
			d.j.printf(levelDebug, "the tunnel has no service %s", name)
		}
	}
}

// defaultService finds the target of a stream that names no service, as a V1 source's do.
func (d *destination) defaultService(tunnel []string) (string, error) {
	if len(tunnel) == 1 {
		return tunnel[0], nil
	}
	if names := d.table.Names(); len(names) == 1 && len(tunnel) == 0 {
		return names[0], nil
	}
	return "", fmt.Errorf("the source names no service, and the choice is among %d: open a tunnel with one service, or use a source of V2 or V3",
		max(len(tunnel), len(d.cfg.Mappings)))
}

func (d *destination) dial(ctx context.Context, service string) (net.Conn, error) {
	c, err := d.table.Dial(ctx, service)
	if err != nil {
		return nil, err
	}
	if host, port, splitErr := net.SplitHostPort(c.RemoteAddr().String()); splitErr == nil {
		d.j.printf(levelInfo, "Connected to %s, port: %s", host, port)
	} else {
		d.j.printf(levelInfo, "Connected to Unix socket: %s", c.RemoteAddr())
	}
	return c, nil
}

func (d *destination) lost() bool { return d.resume.Stats().Detached > 0 }
func (d *destination) close()     { d.resume.Close() }
