package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

// proxies reports which web proxy connections use.
func (c *checkup) proxies(context.Context) []*Result {
	const id = "proxy"
	routes := map[string]bool{}
	text := ""
	addresses := []string{c.cfg.MQTT.Address()}
	for _, e := range c.endpoints() {
		addresses = append(addresses, e.address)
	}
	for _, address := range addresses {
		proxy, variable, err := c.dialer.Via(address)
		if err != nil {
			if inner := errors.Unwrap(err); inner != nil {
				err = inner // without the host: it is wrong for all
			}
			return []*Result{failed(id, cmp.Or(hint.Of(err), "correct it, or unset it"), "%v", err)}
		}
		if proxy != "" {
			text = proxy + ", named by " + variable
		}
		routes[proxy] = true
	}
	switch {
	case text == "":
		text = "none for these hosts, by this shell's environment"
	case routes[""]:
		text += ", for some hosts"
	}
	if other, differs := c.daemonProxy(); differs {
		return []*Result{warning(id, "give both the same: systemctl edit culvertd, with [Service] and Environment=https_proxy=…",
			"%s; the running daemon has %s", text, other)}
	}
	return []*Result{well(id, "%s", text)}
}

// proxyVariables name web proxies and exceptions, in netdial's order of precedence.
var proxyVariables = [][2]string{{"https_proxy", "HTTPS_PROXY"}, {"no_proxy", "NO_PROXY"}}

// daemonProxy compares a running daemon's environment with this process's. Only root and the daemon's
// user may read it.
func (c *checkup) daemonProxy() (shown string, differs bool) {
	if c.daemon.pid == 0 {
		return "", false
	}
	data, err := os.ReadFile(c.at(fmt.Sprintf("/proc/%d/environ", c.daemon.pid)))
	if err != nil {
		return "", false
	}
	theirs := map[string]string{}
	for pair := range strings.SplitSeq(string(data), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		theirs[name] = strings.TrimSpace(value)
	}
	for _, names := range proxyVariables {
		their, our := theirs[names[0]], strings.TrimSpace(os.Getenv(names[0]))
		if their == "" {
			their = theirs[names[1]]
		}
		if our == "" {
			our = strings.TrimSpace(os.Getenv(names[1]))
		}
		switch their {
		case our:
		case "":
			return "no " + names[0], true
		default:
			return "another " + names[0], true // its value may hold a password
		}
	}
	return "", false
}
