package localproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/services"
)

// Mapping joins a service of the tunnel to a local endpoint. An empty Service stands for the tunnel's one
// service, whatever its name.
type Mapping struct {
	Service string
	Network string // "tcp" or "unix"
	Address string // a source's may have port 0
}

// pair is a mapping as the user wrote it.
type pair struct{ service, endpoint string }

// splitMappings reads "ID=endpoint,ID2=endpoint2", or one endpoint alone. A path may contain "=", a service id
// may not, so the first "=" after a possible id separates the two. again lists ids that occur more than once; the
// first occurrence counts.
func splitMappings(s string) (list []pair, again []string, err error) {
	seen := map[string]bool{}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		p := pair{endpoint: item}
		if id, endpoint, ok := strings.Cut(item, "="); ok && !strings.ContainsAny(id, "/[") {
			p = pair{strings.TrimSpace(id), strings.TrimSpace(endpoint)}
			if err := checkService(p.service); err != nil {
				return nil, nil, err
			}
			if p.endpoint == "" {
				return nil, nil, fmt.Errorf("%q: nothing follows the =: write ID=PORT", item)
			}
		}
		if seen[p.service] && p.service != "" {
			again = append(again, p.service)
			continue
		}
		seen[p.service] = true
		list = append(list, p)
	}
	switch {
	case len(list) == 0:
		return nil, nil, errors.New("it names no port: write PORT, or ID=PORT,ID2=PORT2")
	case len(list) > 1 && seen[""]:
		return nil, nil, errors.New("several endpoints need their services' names: write ID=PORT,ID2=PORT2")
	}
	return list, again, nil
}

// checkService returns what is wrong with a service id, or nil.
func checkService(id string) error {
	switch {
	case services.ValidName(id):
		return nil
	case id == "":
		return errors.New("there is no service before the =: write ID=PORT")
	case strings.Contains(id, "."):
		return fmt.Errorf("service %q: no tunnel can have a service with a dot: it has letters, digits, \":\", \"_\" and \"-\"", id)
	}
	return fmt.Errorf("service %q: a service has 1 to 128 letters, digits, \":\", \"_\" and \"-\"", id)
}

// target makes a destination's mapping. A port alone is one of host.
func target(p pair, host string) (Mapping, error) {
	endpoint := p.endpoint
	switch {
	case strings.HasPrefix(endpoint, "unix:"):
	case strings.Contains(endpoint, "/") && !strings.Contains(endpoint, "://"):
		path, err := filepath.Abs(endpoint)
		if err != nil {
			return Mapping{}, err
		}
		endpoint = "unix:" + path
	case strings.Trim(endpoint, "0123456789") == "":
		port, err := services.ParsePort(endpoint)
		if err != nil {
			return Mapping{}, err
		}
		endpoint = net.JoinHostPort(host, strconv.Itoa(port))
	}
	network, address, err := services.ParseAddress(endpoint)
	return Mapping{p.service, network, address}, err
}

// listenAddress makes a source's mapping: a port of host, or host:port. Port 0 is any free one.
func listenAddress(p pair, host string) (Mapping, error) {
	digits := p.endpoint
	if strings.Contains(digits, "/") {
		return Mapping{}, fmt.Errorf("%q: a source listens on a TCP port: write ID=PORT", digits)
	}
	if strings.Contains(digits, ":") {
		h, port, err := net.SplitHostPort(digits)
		if err != nil {
			return Mapping{}, fmt.Errorf("%q is not an address: write a port, host:port or [IPv6]:port", digits)
		}
		if host, digits = h, port; host != "" {
			if host, err = bindHost(host); err != nil {
				return Mapping{}, err
			}
		}
	}
	port := 0
	if strings.Trim(digits, "0") != "" || digits == "" {
		var err error
		if port, err = services.ParsePort(digits); err != nil {
			return Mapping{}, err
		}
	}
	return Mapping{p.service, "tcp", net.JoinHostPort(host, strconv.Itoa(port))}, nil
}

// bindHost reads a local address or name, an IPv6 address with or without its brackets.
func bindHost(s string) (string, error) {
	if bare, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(bare, "]")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return s, nil
	}
	return s, services.CheckHost(s)
}

// listenHost returns the address to bind to: for localhost the one that clients try first, even where neither
// /etc/hosts nor the resolver knows the name.
func listenHost(host string) string {
	if strings.EqualFold(host, defaultBindHost) {
		return "127.0.0.1"
	}
	return host
}

// readMappings reads all files of a directory of mappings. Of two mappings of one service the first counts.
// Lines that are no mapping are passed to skipped and left out.
func readMappings(dir string, skipped func(string)) ([]pair, error) {
	paths, err := files(dir)
	if err != nil {
		return nil, err
	}
	var list []pair
	seen := map[string]bool{}
	for _, path := range paths {
		lines, err := readINI(path)
		if err != nil {
			skipped(err.Error())
			continue
		}
		for _, l := range lines {
			problem := l.problem
			if err := checkService(l.key); err != nil && problem == "" {
				problem = err.Error()
			}
			switch {
			case problem == "" && l.value == "":
				problem = "nothing follows the ="
			case problem == "" && seen[l.key]:
				problem = fmt.Sprintf("service %s has an endpoint already, which counts", l.key)
			}
			if problem != "" {
				skipped(fmt.Sprintf("%s:%d: %s", path, l.number, problem))
				continue
			}
			seen[l.key] = true
			list = append(list, pair{l.key, l.value})
		}
	}
	return list, nil
}
