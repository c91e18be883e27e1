package agent

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/culvert-iot/culvert/agent/metrics"
	"github.com/culvert-iot/culvert/agent/session"
	"github.com/culvert-iot/culvert/internal/hint"
)

// notifications counts what came, by what became of it. The names are values of a label.
type notifications struct{ accepted, known, refused, invalid atomic.Uint64 }

func (n *notifications) count(r session.Result) {
	switch r {
	case session.Accepted:
		n.accepted.Add(1)
	case session.Known:
		n.known.Add(1)
	case session.Refused:
		n.refused.Add(1)
	}
}

// listenMetrics makes the server of metrics.listen, if there is to be one. A daemon without its figures is better than none.
func (a *Agent) listenMetrics() *metrics.Server {
	address := a.running.Metrics.Listen
	if address == "" {
		return nil
	}
	server, err := metrics.Listen(address, a.log)
	if err != nil {
		a.log.Warn("metrics cannot be served", "error", hint.Line(err))
		return nil
	}
	return server
}

// serveMetrics answers a monitoring system.
func (a *Agent) serveMetrics(path string) metrics.Response {
	switch path {
	case "/metrics":
		p := &metrics.Page{}
		a.writeMetrics(p)
		return p.Response()
	case "/healthz":
		return metrics.Health(a.health())
	}
	return metrics.NotFound()
}

// health reports whether operators can reach the device, as far as the daemon knows, and if not, why.
func (a *Agent) health() (well bool, text string) {
	s := mqttStatus(a.mqtt.State())
	switch stuck := a.mqtt.Stuck(); {
	case a.running.MQTT.Disabled:
		return true, "ok"
	case stuck != "":
		return false, "stuck: " + stuck
	case s.State == Subscribed:
		return true, "ok"
	case s.LastError != "":
		return false, fmt.Sprintf("mqtt %s: %s", s.State, oneLine(hint.Line(hint.New(s.LastError, s.LastHint))))
	}
	return false, fmt.Sprintf("mqtt %s", s.State)
}

// oneLine keeps an error from looking like more than one answer.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// writeMetrics writes all metrics. docs/metrics.md explains them, and a test compares the two.
func (a *Agent) writeMetrics(p *metrics.Page) {
	s := a.Status()
	p.Gauge("culvertd_build_info", "Always 1; the labels say which program runs.")
	p.Add("culvertd_build_info", 1, "version", s.Version.Version, "commit", s.Version.Commit, "goversion", runtime.Version(), "goarch", runtime.GOARCH)
	if s.MQTT.State != Disabled {
		writeMQTT(p, s.MQTT)
	}

	n := &a.notified
	p.Counter("culvertd_notifications_total", "Notifications, by what became of them.")
	for _, c := range []struct {
		result string
		count  *atomic.Uint64
	}{{"accepted", &n.accepted}, {"known", &n.known}, {"refused", &n.refused}, {"invalid", &n.invalid}} {
		p.Add("culvertd_notifications_total", float64(c.count.Load()), "result", c.result)
	}

	tunnels := map[session.State]int{}
	for _, t := range s.Tunnels {
		tunnels[t.State]++
	}
	p.Gauge("culvertd_tunnels", "Live tunnels, by state.")
	for _, state := range []session.State{session.Connecting, session.Connected, session.Waiting} {
		p.Add("culvertd_tunnels", float64(tunnels[state]), "state", string(state))
	}
	p.Gauge("culvertd_tunnels_max", "Live tunnels that are allowed, tunnel.max_tunnels.", float64(s.Limits.MaxTunnels))
	totals := a.sessions.Totals()
	p.Counter("culvertd_tunnel_connect_attempts_total", "Handshakes with the tunnel service that were tried.", float64(totals.Attempts))
	p.Counter("culvertd_tunnel_connects_total", "Handshakes with the tunnel service that succeeded.", float64(totals.Connects))

	p.Gauge("culvertd_connections_detached", "Connections whose tunnel was lost and that wait to be resumed.", float64(s.Detached.Connections))
	p.Counter("culvertd_connections_resumed_total", "Connections that went on over another websocket.", float64(s.Detached.Resumed))
	p.Counter("culvertd_connections_expired_total", "Connections that waited to be resumed in vain.", float64(s.Detached.Expired))
	writeServices(p, s, totals)
	if h := s.Hooks; h != nil {
		p.Counter("culvertd_hooks_run_total", "Runs of hooks.command.", float64(h.Run))
		p.Counter("culvertd_hooks_failed_total", "Runs of hooks.command that failed.", float64(h.Failed))
		p.Counter("culvertd_hooks_dropped_total", "Events that hooks.command was too slow for.", float64(h.Dropped))
	}
	writeProcess(p, s)
}

func writeMQTT(p *metrics.Page, s MQTTStatus) {
	flag := func(name, help string, on bool) {
		value := 0.0
		if on {
			value = 1
		}
		p.Gauge(name, help, value)
	}
	flag("culvertd_mqtt_connected", "Whether the MQTT broker has accepted the connection.", s.State != Connecting)
	flag("culvertd_mqtt_subscribed", "Whether notifications arrive: the device can be reached.", s.State == Subscribed)
	p.Gauge("culvertd_mqtt_state_timestamp_seconds", "Since when the MQTT connection is as it is.", unixSeconds(s.Since))
	p.Gauge("culvertd_mqtt_connect_attempts", "Attempts to connect since there was last a subscription.", float64(s.Attempts))
	p.Gauge("culvertd_last_notification_timestamp_seconds", "When the last notification came by MQTT; 0 if none did.", unixSeconds(s.LastNotify))
}

func writeServices(p *metrics.Page, s Status, totals session.Totals) {
	each := func(name string, value func(ServiceStatus) float64) {
		for _, v := range s.Services {
			p.Add(name, value(v), "service", v.Service)
		}
	}
	p.Gauge("culvertd_service_connections", "Open connections, over all tunnels.")
	each("culvertd_service_connections", func(v ServiceStatus) float64 { return float64(v.Connections) })
	p.Gauge("culvertd_service_connections_max", "Open connections that are allowed, max_connections; 0 is no limit.")
	each("culvertd_service_connections_max", func(v ServiceStatus) float64 { return float64(v.MaxConnections) })
	p.Counter("culvertd_service_connections_total", "Connections that were asked for, refused ones included.")
	each("culvertd_service_connections_total", func(v ServiceStatus) float64 { return float64(totals.Services[v.Service].Connections) })
	p.Counter("culvertd_service_connections_refused_total", "Connections that did not reach the target, by reason.")
	for _, v := range s.Services {
		reasons := make([]string, 0, len(v.Refused))
		for reason := range v.Refused {
			reasons = append(reasons, reason)
		}
		slices.Sort(reasons)
		for _, reason := range reasons {
			p.Add("culvertd_service_connections_refused_total", float64(v.Refused[reason]), "service", v.Service, "reason", reason)
		}
	}
	p.Counter("culvertd_service_received_bytes_total", "Bytes from tunnels to the target.")
	each("culvertd_service_received_bytes_total", func(v ServiceStatus) float64 { return float64(totals.Services[v.Service].BytesIn) })
	p.Counter("culvertd_service_sent_bytes_total", "Bytes from the target to tunnels.")
	each("culvertd_service_sent_bytes_total", func(v ServiceStatus) float64 { return float64(totals.Services[v.Service].BytesOut) })
	p.Counter("culvertd_unknown_service_refused_total", "Connections to services that are not configured.", float64(s.Limits.UnknownRefused))
}

// writeProcess has the figures that monitoring systems know of every program, by their usual names.
func writeProcess(p *metrics.Page, s Status) {
	p.Gauge("process_start_time_seconds", "When the daemon started.", unixSeconds(s.Started))
	use := metrics.Usage()
	p.Counter("process_cpu_seconds_total", "CPU time of the daemon, user and system.", use.CPU.Seconds())
	p.Gauge("process_resident_memory_bytes", "Memory that the daemon has in RAM.", float64(use.Resident))
	p.Gauge("process_open_fds", "Open file descriptors of the daemon.", float64(use.Descriptors))
	p.Gauge("go_goroutines", "Threads of work; one that only grows is a fault of the daemon.", float64(s.Goroutines))
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
