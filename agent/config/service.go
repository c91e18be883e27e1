package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/suggest"
	"github.com/culvert-iot/culvert/services"
)

// maxConnections is far more than a device can hold open; a higher number is a slip.
const maxConnections = 65535

// service reads one entry of [services]: a port, an address, or a table.
func (d *decoder) service(n *node) {
	n.path = "services." + quoteKey(n.name)
	if flaw := nameFlaw(n.name); flaw != "" {
		d.doc.problem(n.key, `AWS IoT allows 1 to 128 letters, digits, ":", "_" and "-"`, "the service name %s", flaw)
		return
	}
	s := services.Service{Name: n.name, IdleTimeout: d.cfg.Tunnel.IdleTimeout}
	switch n.kind {
	case integerKind, stringKind:
		d.address(n, &s)
	case tableKind:
		d.serviceTable(n, &s)
	default:
		d.doc.problem(n.value, `write a port, "host:port", "unix:/path", or a table with an address`,
			"%s: expected a port, an address or a table, found %s", n.path, n.kind)
	}
	d.cfg.Services = append(d.cfg.Services, s)
}

func (d *decoder) serviceTable(n *node, s *services.Service) {
	known := 0
	for _, c := range n.children {
		known++
		c.path = n.path + "." + c.name
		switch c.name {
		case "address":
			d.address(c, s)
		case "max_connections":
			d.integer(c, &s.MaxConnections, 0, maxConnections)
		case "idle_timeout":
			d.duration(c, &s.IdleTimeout, "30m")
		case "max_duration":
			d.duration(c, &s.MaxDuration, "12h")
		case "enabled":
			enabled := true
			d.boolean(c, &enabled)
			s.Disabled = !enabled
		default:
			known--
			d.unknownServiceKey(n, c)
		}
	}
	if n.child("address") == nil && (known > 0 || len(n.children) == 0) && !d.doc.broken {
		d.doc.problem(n.key, `write address = 22, address = "host:port" or address = "unix:/path"`, "the service %s has no address", quoteKey(n.name))
	}
}

func (d *decoder) unknownServiceKey(n, c *node) {
	hint := "the keys of a service are " + strings.Join(serviceKeys, ", ")
	if guess := suggest.Nearest(c.name, serviceKeys); guess != "" {
		hint = "did you mean " + guess + "?"
	} else if n.dotted && !slices.Contains(serviceKeys, c.name) {
		hint = "a service name has no dot, AWS IoT refuses it: write " + n.name + "-" + c.name
	}
	d.doc.problem(c.key, hint, "unknown key %s in the service %s", quoteKey(c.name), quoteKey(n.name))
}

// address reads a target: a port, or what services.ParseAddress takes.
func (d *decoder) address(n *node, s *services.Service) {
	switch n.kind {
	case integerKind:
		port, ok := wholeNumber(n)
		if !ok || port < 1 || port > 65535 {
			d.doc.problem(n.value, "write 1 to 65535", "%s: port %s is out of range", n.path, n.text)
			return
		}
		s.Network, s.Address, _ = services.ParseAddress(strconv.Itoa(port))
	case stringKind:
		var err error
		if s.Network, s.Address, err = services.ParseAddress(n.text); err != nil {
			d.doc.problem(n.value, hint.Of(err), "%s: %v", n.path, err)
		}
	default:
		d.doc.problem(n.value, `write a port, "host:port" or "unix:/path"`, "%s: expected a port or an address, found %s", n.path, n.kind)
	}
}
