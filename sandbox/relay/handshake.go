package relay

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/culvert-iot/culvert/internal/secret"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// maxRequest is the size of a whole handshake request in bytes (V3 protocol guide).
const maxRequest = 4096

// ServeHTTP answers the websocket handshake on /tunnel and then serves the connection until it ends.
// Every answer carries the header channel-id.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	channel := make([]byte, 16)
	_, _ = rand.Read(channel) // never fails
	id := hex.EncodeToString(channel)
	w.Header().Set("Channel-Id", id)
	if !r.begin() {
		refuse(w, http.StatusServiceUnavailable, "", "The service is going away.")
		return
	}
	defer r.running.Done()

	h, complaint := parseHandshake(req, r.cfg.Subprotocols)
	log := r.cfg.Logger.With("channel_id", id, "token", secret.New(h.Token).ID())
	if complaint != "" {
		log.Info("handshake refused", "reason", complaint)
		refuse(w, http.StatusBadRequest, "", complaint)
		return
	}
	if _, ok := w.(http.Hijacker); !ok {
		refuse(w, http.StatusHTTPVersionNotSupported, "", "The data endpoint speaks HTTP/1.1 only.")
		return
	}
	target := Target{Tunnel: r.cfg.Store.TunnelOf(h.Token), Side: h.Mode}
	if !r.faults.handshake(w, req, target) {
		return
	}
	adm, no := r.cfg.Store.Admit(h)
	if no != nil {
		log.Info("handshake refused", "session", target.Tunnel, "reason", string(no.Kind), "status", no.Status)
		refuse(w, no.Status, no.Reason, no.Body)
		return
	}
	defer adm.Release()
	if r.faults.loseAnswer(w, target) {
		return
	}
	header := http.Header{"channel-id": {id}}
	arrived := r.link(adm.Tunnel).expect(h.Mode)
	defer arrived()
	ws, err := r.faults.upgraderFor(target, header).Upgrade(w, req, header)
	if err != nil {
		log.Info("handshake failed", "session", adm.Tunnel, "error", err)
		return
	}
	log = log.With("session", adm.Tunnel)
	p := newPeer(r, ws, adm)
	p.arrived = arrived
	if h.Mode == tunnels.Source {
		log.Info("source connected")
		p.serve()
		log.Info("source disconnected", "reason", p.how.why)
		return
	}
	log.Info("destination connected")
	p.serve()
	log.Info("destination disconnected", "reason", p.how.why)
}

func refuse(w http.ResponseWriter, status int, reason, body string) {
	w.Header().Set("Content-Type", "text/plain")
	if reason != "" {
		w.Header().Set("X-Status-Reason", reason)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) //nolint:gosec // served as text/plain
}

// parseHandshake checks the form of a request (V3 protocol guide). A complaint is the text of a refusal; it
// comes before the token is looked at, so that a malformed request spends nothing.
func parseHandshake(req *http.Request, subprotocols []string) (h tunnels.Handshake, complaint string) {
	tokens := slices.Clone(req.Header.Values("Access-Token"))
	for _, c := range req.CookiesNamed("awsiot-tunnel-token") {
		tokens = append(tokens, c.Value)
	}
	clients := req.Header.Values("Client-Token")
	modes := req.URL.Query()["local-proxy-mode"]
	if len(tokens) > 0 {
		h.Token = tokens[0]
	}
	if len(clients) > 0 {
		h.ClientToken = clients[0]
	}
	if len(modes) > 0 {
		h.Mode = tunnels.Mode(modes[0])
	}
	switch {
	case req.URL.Path != "/tunnel":
		complaint = "Invalid path: the data endpoint serves /tunnel only."
	case requestSize(req) > maxRequest:
		complaint = "Invalid request: at most 4096 bytes are allowed."
	case req.Method != http.MethodGet || !websocket.IsWebSocketUpgrade(req) ||
		req.Header.Get("Sec-Websocket-Version") != "13" || len(req.Header.Get("Sec-Websocket-Key")) != 24:
		complaint = "Invalid request: not a websocket handshake."
	case len(modes) != 1 || h.Mode != tunnels.Source && h.Mode != tunnels.Destination:
		complaint = "Invalid local-proxy-mode: source or destination expected, once."
	case !slices.ContainsFunc(websocket.Subprotocols(req), func(s string) bool { return slices.Contains(subprotocols, s) }):
		complaint = "Invalid subprotocol: none of those offered is supported."
	case len(tokens) != 1:
		complaint = "Invalid access token: exactly one value expected."
	case len(clients) > 1 || len(clients) == 1 && h.ClientToken == "":
		complaint = "Invalid client token: at most one value, and no empty one, expected."
	}
	return h, complaint
}

// requestSize is the size of the request on the wire.
func requestSize(req *http.Request) int {
	n := len(req.Method) + len(req.RequestURI) + len(req.Proto) + 4 + len("Host: ") + len(req.Host) + 2 + 2
	for k, vs := range req.Header {
		for _, v := range vs {
			n += len(k) + 2 + len(v) + 2
		}
	}
	return n
}

// version returns the major version of a subprotocol, 1 to 3.
func version(subprotocol string) int {
	major, _, _ := strings.Cut(strings.TrimPrefix(subprotocol, subprotocolPrefix), ".")
	n, _ := strconv.Atoi(major)
	return n
}
