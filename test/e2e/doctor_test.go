package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/culvert-iot/culvert/operator/doctor"
	"github.com/culvert-iot/culvert/sandbox"
	"github.com/culvert-iot/culvert/sandbox/api"
	"github.com/culvert-iot/culvert/sandbox/dataplane"
	"github.com/culvert-iot/culvert/sandbox/registry"
	"github.com/culvert-iot/culvert/sandbox/tunnels"
)

// clinic is a sandbox with an operator who runs "culvert doctor".
type clinic struct {
	*operatorSite
	t       *testing.T
	timeout string
}

// doctor runs the command and returns its report and exit code.
func (c *clinic) doctor(thing string, env ...string) (doctor.Report, int) {
	c.t.Helper()
	cmd := c.culvert(c.t, "doctor", "--json", "--timeout", c.timeout, thing)
	cmd.Env = append(append([]string{}, cmd.Env...), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	var r doctor.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		c.t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	return r, cmd.ProcessState.ExitCode()
}

// find returns the first result with an id and a status.
func find(r doctor.Report, id string, status doctor.Status) (doctor.Result, bool) {
	for _, result := range r.Results {
		if result.ID == id && result.Status == status {
			return result, true
		}
	}
	return doctor.Result{}, false
}

// registered makes a certificate with a policy document for a new thing, in AWS IoT's registry.
func (c *clinic) registered(thing, document string) (certificateID string) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: thing}}, key)
	if err != nil {
		c.t.Fatal(err)
	}
	request := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
	c.call(http.MethodPost, "/things/"+thing, nil, map[string]any{})
	made := c.call(http.MethodPost, "/certificates?setAsActive=true", nil, map[string]any{"certificateSigningRequest": request})
	arn := made["certificateArn"].(string)
	c.call(http.MethodPut, "/things/"+thing+"/principals", http.Header{"X-Amzn-Principal": {arn}}, nil)
	if document != "" {
		c.call(http.MethodPost, "/policies/"+thing, nil, map[string]any{"policyDocument": document})
		c.call(http.MethodPut, "/target-policies/"+thing, nil, map[string]any{"target": arn})
	}
	return made["certificateId"].(string)
}

// call makes a call of AWS IoT's registry.
func (c *clinic) call(method, path string, header http.Header, body any) map[string]any {
	c.t.Helper()
	text, _ := json.Marshal(body)
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.box.APIURL+path, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=any/20260101/eu-west-1/iot/aws4_request")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s: %s", method, path, answer)
	}
	var out map[string]any
	_ = json.Unmarshal(answer, &out)
	return out
}

// client is a device's MQTT client that is no culvertd.
func (c *clinic) client(thing, id string, filters ...string) mqtt.Client {
	c.t.Helper()
	files, err := c.box.Device(thing)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		c.t.Fatal(err)
	}
	o := mqtt.NewClientOptions().AddBroker("ssl://" + c.box.MQTT).SetClientID(id).SetAutoReconnect(false)
	o.SetTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: c.box.CA.Pool()})
	client := mqtt.NewClient(o)
	if t := client.Connect(); t.Wait() && t.Error() != nil {
		c.t.Fatal(t.Error())
	}
	c.t.Cleanup(func() { client.Disconnect(0) })
	for _, f := range filters {
		if t := client.Subscribe(f, 1, nil); t.Wait() && t.Error() != nil {
			c.t.Fatal(t.Error())
		}
	}
	return client
}

// openProxy starts a web proxy for calls of plain HTTP, which leads every one to the sandbox.
func openProxy(t *testing.T, box *sandbox.Sandbox) string {
	t.Helper()
	target, err := url.Parse(box.APIURL)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	t.Cleanup(server.Close)
	return server.URL
}

// frontTLS starts the sandbox's API with TLS under another name, and returns its URL.
func frontTLS(t *testing.T, box *sandbox.Sandbox, name string) string {
	t.Helper()
	target, err := url.Parse(box.APIURL)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := box.CA.Server(name)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + net.JoinHostPort(name, port)
}

// serveTLS starts a server that does handshakes, and returns its address.
func serveTLS(t *testing.T, cert tls.Certificate, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

const wholePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

func TestDoctorFindsTheCause(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{Things: []string{"pi-1", "deaf", "twin", "away", "mute", "named"}})
	c := &clinic{newOperatorSite(t, box), t, "30s"}
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	startDaemon(t, files.ConfigFile).waitLog(t, "mqtt subscribed", 20*time.Second)
	only := func(action, resource string) string {
		return `{"Effect":"Allow","Action":"` + action + `","Resource":"arn:aws:iot:eu-west-1:123456789012:` + resource + `"}`
	}
	document := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	}
	notify := func(thing string) string { return "$aws/things/" + thing + "/tunnels/notify" }
	quiet, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = quiet.Close() })
	go func() {
		for {
			conn, err := quiet.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	cert, err := box.CA.Between(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)).Server()
	expired := serveTLS(t, cert, err)
	device, err := box.CA.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	cert, err = device.TLS() // which names no host
	foreign := serveTLS(t, cert, err)
	deny := func(operations ...string) func() {
		return func() { box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: operations}) }
	}
	fail := func(operation, kind string) func() {
		return func() {
			for range 3 {
				box.Registry.Fail(operation, registry.Fault{Status: http.StatusForbidden, Type: kind, Message: "no"})
			}
		}
	}

	depends := func(action, key, value string) map[string]map[string]string {
		return map[string]map[string]string{action: {key: value}}
	}
	const group = "arn:aws:iot:eu-west-1:123456789012:thinggroup/canary"
	caller := func(who registry.Caller) func() { return func() { box.Registry.SetCaller(who) } }

	for _, fault := range []struct {
		name, thing string
		provoke     func()
		env         []string
		id          string
		status      doctor.Status
		words       string // in the text or the remedy
	}{
		{"nothing is wrong", "pi-1", nil, nil, "subscription", doctor.OK, "is subscribed"},
		{"nothing is wrong: the device answers", "pi-1", nil, nil, "answer", doctor.OK, "answered in"},
		{"no such thing", "pi-9", nil, nil, "thing", doctor.Failed, "check the name"},
		{"nothing is wrong: the certificate", "pi-1", nil, nil, "certificate", doctor.OK, "is active"},
		{"nothing is wrong: its policy", "pi-1", nil, nil, "policy", doctor.OK, "allow tunnels"},
		{"no certificate", "naked", func() { box.Registry.Add("naked", nil) }, nil, "certificate", doctor.Warning, "attach its certificate"},
		{"no policy", "bare", func() { c.registered("bare", "") }, nil, "policy", doctor.Failed, "has no policy"},
		{"only a group has a policy", "g1", func() {
			c.registered("g1", "")
			box.Registry.AddToGroup("fleet", "g1")
			c.call(http.MethodPost, "/policies/fleet", nil, map[string]any{"policyDocument": wholePolicy})
			c.call(http.MethodPut, "/target-policies/fleet", nil, map[string]any{"target": "arn:aws:iot:eu-west-1:123456789012:thinggroup/fleet"})
		}, nil, "policy", doctor.Warning, "only policies of the thing's groups allow tunnels"},
		{"the policies of groups may not be seen", "g1", fail("GetEffectivePolicies", "AccessDeniedException"), nil, "policy", doctor.Skipped, "allow iot:GetEffectivePolicies"},
		{"Connect is not allowed", "p1", func() {
			c.registered("p1", document(only("iot:Connect", "client/p1"), only("iot:Subscribe", "topicfilter/"+notify("p1")), only("iot:Receive", "topic/"+notify("p1"))))
		}, nil, "policy", doctor.Failed, "allow iot:Connect on client/p1-tunnel"},
		{"Subscribe is on topic", "p2", func() {
			c.registered("p2", document(only("iot:Connect", "client/*"), only("iot:Subscribe", "topic/"+notify("p2")), only("iot:Receive", "topic/"+notify("p2"))))
		}, nil, "policy", doctor.Failed, "allow iot:Subscribe on topicfilter/"},
		{"Receive is on topicfilter", "p3", func() {
			c.registered("p3", document(only("iot:Connect", "client/*"), only("iot:Subscribe", "topicfilter/*"), only("iot:Receive", "topicfilter/*")))
		}, nil, "policy", doctor.Failed, "allow iot:Receive on topic/"},
		{"no signs of life", "p4", func() {
			c.registered("p4", document(only("iot:Connect", "client/*"), only("iot:Subscribe", "topicfilter/*"), only("iot:Receive", "topic/"+notify("p4"))))
		}, nil, "policy", doctor.Warning, "topic/culvert/p4/ping"},
		{"answers may not be retained", "p6", func() {
			c.registered("p6", document(only("iot:Connect", "client/*"), only("iot:Subscribe", "topicfilter/*"), only("iot:Receive", "topic/*"), only("iot:Publish", "topic/*")))
		}, nil, "policy", doctor.Warning, "allow iot:Publish and iot:RetainPublish on topic/culvert/p6/pong"},
		{"inactive certificate", "p5", func() {
			id := c.registered("p5", wholePolicy)
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, box.APIURL+"/certificates/"+id+"?newStatus=INACTIVE", nil)
			req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=any/20260101/eu-west-1/iot/aws4_request")
			resp, err := http.DefaultClient.Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(err, resp.Status)
			}
			_ = resp.Body.Close()
		}, nil, "certificate", doctor.Failed, "is INACTIVE"},
		{"never connected", "p5", nil, nil, "connection", doctor.Failed, "has never connected"},
		{"never connected, the thing's other client is there", "mute", func() { c.client("mute", "mute") }, nil, "connection", doctor.Failed, "install culvertd"},
		{"another client id", "named", func() { c.client("named", "named", notify("named")) }, nil, "connection", doctor.Warning, "named-tunnel has never connected, but named is connected from 127.0.0.1, and subscribed to the thing's tunnel notifications if that is culvertd, with mqtt.client_id set"},
		{"another client id: its subscription", "named", nil, nil, "subscription", doctor.OK, "named is subscribed"},
		{"another client id: no ping reaches it", "named", nil, nil, "answer", doctor.Skipped, "pings go to the client named-tunnel"},
		{"another client id, whose subscriptions may not be seen", "named", deny("ListSubscriptions"), nil, "connection", doctor.Skipped, "iot:ListSubscriptions on client/named, which is culvertd if its mqtt.client_id says so"},
		{"another client id, of late", "named", func() { c.client("named", "named-tunnel").Disconnect(100) }, nil, "connection", doctor.Warning, "named-tunnel is not connected, but named is connected"},
		{"not subscribed", "deaf", func() { c.client("deaf", "deaf-tunnel") }, nil, "subscription", doctor.Failed, "iot:Subscribe on topicfilter/"},
		{"stopped", "away", func() { c.client("away", "away-tunnel", notify("away")).Disconnect(100) }, nil, "connection", doctor.Failed, "culvertd was stopped"},
		{"disconnected by a call", "away", func() {
			c.client("away", "away-tunnel")
			box.Broker.Disconnect("away-tunnel", true)
		}, nil, "connection", doctor.Failed, "a call of DeleteConnection"},
		{"two clients with one id", "twin", func() {
			c.client("twin", "twin-tunnel", notify("twin"))
			time.AfterFunc(time.Second, func() { c.client("twin", "twin-tunnel", notify("twin")) })
		}, nil, "client_id", doctor.Warning, "second client with the id twin-tunnel"},
		{"may not see connections", "pi-1", deny("GetConnection"), nil, "connection", doctor.Skipped, "iot:GetConnection on client/pi-1-tunnel"},
		{"may not list subscriptions", "pi-1", deny("ListSubscriptions"), nil, "subscription", doctor.Skipped, "iot:ListSubscriptions"},
		{"may not send messages", "pi-1", deny("SendDirectMessage"), nil, "answer", doctor.Skipped, "iot:SendDirectMessage"},
		{"may not describe the thing", "pi-1", fail("DescribeThing", "AccessDeniedException"), nil, "thing", doctor.Skipped, "iot:DescribeThing"},
		{"may not see principals", "pi-1", fail("ListThingPrincipals", "AccessDeniedException"), nil, "certificate", doctor.Skipped, "iot:ListThingPrincipals"},
		{"messages are throttled", "pi-1", func() { box.DataPlane.SetBehaviour(dataplane.Behaviour{Throttled: true}) }, nil, "connection", doctor.Failed, "AWS throttled the call and its repetitions"},
		{"the caller may do all", "pi-1", nil, nil, "permissions", doctor.OK, "may open, rotate and close tunnels"},
		{"the caller may not open tunnels", "pi-1", caller(registry.Caller{Denied: []string{"iot:OpenTunnel"}}), nil, "permissions", doctor.Failed, "allow iot:OpenTunnel on arn:aws:iot:eu-west-1:123456789012:tunnel/*"},
		{"the caller may not close tunnels", "pi-1", caller(registry.Caller{Denied: []string{"iot:CloseTunnel"}}), nil, "permissions", doctor.Warning, "may not call iot:CloseTunnel"},
		{"the organization forbids it", "pi-1", caller(registry.Caller{Denied: []string{"iot:OpenTunnel"}, DeniedBy: "organization"}), nil, "permissions", doctor.Failed, "its service control policy forbids it"},
		{"the permissions boundary forbids it", "pi-1", caller(registry.Caller{Denied: []string{"iot:OpenTunnel"}, DeniedBy: "boundary"}), nil, "permissions", doctor.Failed, "the permissions boundary must allow iot:OpenTunnel"},
		{"only one group is allowed, and the thing is in none", "pi-1", caller(registry.Caller{Depends: depends("iot:OpenTunnel", "iot:ThingGroupArn", group)}), nil, "permissions", doctor.Skipped, "iot:OpenTunnel depends on iot:ThingGroupArn the thing is in no group"},
		{"only one group is allowed, and the thing is in it", "p5", func() {
			box.Registry.AddToGroup("canary", "p5")
			caller(registry.Caller{Depends: depends("iot:OpenTunnel", "iot:ThingGroupArn", group)})()
		}, nil, "permissions", doctor.OK, "may open, rotate and close tunnels"},
		{"only another group is allowed", "p5", caller(registry.Caller{Depends: depends("iot:OpenTunnel", "iot:ThingGroupArn", group+"s")}), nil, "permissions", doctor.Failed, "may not call iot:OpenTunnel"},
		{"only another service is allowed", "pi-1", caller(registry.Caller{Depends: depends("iot:OpenTunnel", "iot:TunnelDestinationService", "VNC")}), nil, "permissions", doctor.Failed, "may not call iot:OpenTunnel"},
		{"only SSH is allowed", "pi-1", caller(registry.Caller{MissingOnTop: true, Depends: depends("iot:OpenTunnel", "iot:TunnelDestinationService", "SSH")}), nil, "permissions", doctor.OK, "may open, rotate and close tunnels"},
		{"tunnels must be opened with a tag", "pi-1", caller(registry.Caller{Depends: depends("iot:OpenTunnel", "aws:RequestTag/team", "ops")}), nil, "permissions", doctor.Skipped, "aws:RequestTag/team culvert opens tunnels without tags: open one with culvert open-tunnel --tags"},
		{"only tagged tunnels may be closed", "pi-1", caller(registry.Caller{MissingOnTop: true, Depends: depends("iot:CloseTunnel", "aws:ResourceTag/team", "ops")}), nil, "permissions", doctor.Skipped, "tunnels that culvert opened have no tags"},
		{"calls must come through one VPC endpoint", "pi-1", caller(registry.Caller{Depends: depends("iot:OpenTunnel", "aws:SourceVpce", "vpce-1")}), nil, "permissions", doctor.Skipped, "see the line endpoint"},
		{"the endpoint is on this machine", "pi-1", nil, nil, "endpoint", doctor.OK, "127.0.0.1 is this machine"},
		{"a web proxy is on the way", "pi-1", nil, []string{"AWS_ENDPOINT_URL_IOTSECURETUNNELING=" + strings.Replace(box.APIURL, "127.0.0.1", "tunnels.invalid", 1), "NO_PROXY=", "HTTP_PROXY=" + openProxy(t, box)}, "endpoint", doctor.Skipped, "calls to tunnels.invalid go through the web proxy 127.0.0.1"},
		{"a web proxy is on the way of TLS", "pi-1", nil, []string{"AWS_ENDPOINT_URL_IOTSECURETUNNELING=" + frontTLS(t, box, "tunnels.invalid"), "NO_PROXY=", "HTTPS_PROXY=http://user:secret@" + startWebProxy(t).address}, "endpoint", doctor.Skipped, "calls to tunnels.invalid go through the web proxy http://127.0.0.1"},
		{"the VPC endpoint's policy forbids ListTunnels", "pi-1", func() {
			if err := box.API.Fail(api.Fault{Operation: "ListTunnels", Type: "AccessDeniedException", Status: http.StatusForbidden, Message: "User: x is not authorized to perform: iot:ListTunnels because no VPC endpoint policy allows the iot:ListTunnels action"}); err != nil {
				t.Fatal(err)
			}
		}, nil, "tunnels", doctor.Skipped, "the VPC endpoint policy must allow iot:ListTunnels"},
		{"the VPC endpoint's policy forbids GetConnection", "pi-1", func() {
			box.DataPlane.SetBehaviour(dataplane.Behaviour{Denied: []string{"GetConnection"}, DeniedBy: "VPC endpoint policy"})
		}, nil, "connection", doctor.Skipped, "no VPC endpoint policy allows it"},
		{"the caller may not ask IAM", "pi-1", caller(registry.Caller{NoAccess: true}), nil, "permissions", doctor.Skipped, "allow iam:SimulatePrincipalPolicy"},
		{"the caller is a role", "pi-1", caller(registry.Caller{ARN: "arn:aws:sts::123456789012:assumed-role/ops/ann"}), nil, "permissions", doctor.OK, "may open, rotate and close tunnels"},
		{"the caller is a role of IAM Identity Center", "pi-1", caller(registry.Caller{
			ARN:     "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_ops_0123/ann",
			RoleARN: "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_ops_0123",
			Denied:  []string{"iot:RotateTunnelAccessToken"},
		}), nil, "permissions", doctor.Failed, "may not call iot:RotateTunnelAccessToken"},
		{"the caller is the root user", "pi-1", caller(registry.Caller{ARN: "arn:aws:iam::123456789012:root"}), nil, "permissions", doctor.Skipped, "users and roles only"},
		{"no credentials", "pi-1", nil, []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, "credentials", doctor.Failed, "aws configure"},
		{"no region", "pi-1", nil, []string{"AWS_REGION="}, "region", doctor.Failed, "AWS_REGION"},
		{"nothing at the data endpoint", "pi-1", nil, []string{"CULVERT_DATA_ENDPOINT=wss://127.0.0.1:1"}, "data_endpoint", doctor.Failed, "refused"},
		{"no TLS at the data endpoint", "pi-1", nil, []string{"CULVERT_DATA_ENDPOINT=wss://" + quiet.Addr().String()}, "data_endpoint", doctor.Failed, "check the network"},
		{"a data endpoint that is not trusted", "pi-1", nil, []string{"AWS_CA_BUNDLE=", "AWS_ENDPOINT_URL_IOT_DATA_PLANE=" + box.APIURL}, "data_endpoint", doctor.Failed, "web proxy or firewall that inspects TLS"},
		{"a data endpoint whose certificate has expired", "pi-1", nil, []string{"CULVERT_DATA_ENDPOINT=wss://" + expired}, "data_endpoint", doctor.Failed, "check this machine's clock; if it is right"},
		{"a data endpoint with another one's certificate", "pi-1", nil, []string{"CULVERT_DATA_ENDPOINT=wss://" + foreign}, "data_endpoint", doctor.Failed, "something else answers there"},
		{"more tunnels than places", "pi-1", func() {
			for range 9 {
				if _, err := box.Store.Open(tunnels.OpenInput{Destination: &tunnels.DestinationConfig{ThingName: "pi-1", Services: []string{"SSH"}}}); err != nil {
					t.Fatal(err)
				}
			}
		}, nil, "tunnels", doctor.Warning, "9 are open"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			box.DataPlane.SetBehaviour(dataplane.Behaviour{})
			box.Registry.SetCaller(registry.Caller{})
			box.Registry.ClearFaults()
			if fault.provoke != nil {
				fault.provoke()
			}
			report, code := c.doctor(fault.thing, fault.env...)
			result, found := find(report, fault.id, fault.status)
			if !found || !strings.Contains(result.Text+" "+result.Remedy, fault.words) {
				t.Errorf("no %s with status %s and %q in %+v", fault.id, fault.status, fault.words, report.Results)
			}
			if want := map[bool]int{true: 0, false: 1}[report.Well]; code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
		})
	}
}

// A host that takes connections and never says anything, as behind a firewall that drops packets.
func TestDoctorGoesOnPastASilentHost(t *testing.T) {
	t.Parallel()
	box := startSandbox(t, sandbox.Config{Things: []string{"pi-1"}})
	c := &clinic{newOperatorSite(t, box), t, "12s"}
	files, err := box.Device("pi-1")
	if err != nil {
		t.Fatal(err)
	}
	startDaemon(t, files.ConfigFile).waitLog(t, "mqtt subscribed", 20*time.Second)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() }) // the kernel accepts, up to its backlog
	host := silent.Addr().String()
	for _, tt := range []struct {
		name, env, id string
		others        []string
	}{
		{"STS", "AWS_ENDPOINT_URL_STS=http://", "credentials", []string{"thing", "certificate", "policy", "connection", "subscription", "answer", "tunnels", "data_endpoint"}},
		{"IAM", "AWS_ENDPOINT_URL_IAM=http://", "permissions", []string{"credentials", "thing", "connection", "tunnels", "data_endpoint"}},
		{"the control plane", "AWS_ENDPOINT_URL_IOT=http://", "thing", []string{"credentials", "permissions", "tunnels", "data_endpoint"}},
		{"the data plane", "AWS_ENDPOINT_URL_IOT_DATA_PLANE=http://", "connection", []string{"credentials", "policy", "tunnels", "data_endpoint"}},
		{"the tunnels' API", "AWS_ENDPOINT_URL_IOTSECURETUNNELING=http://", "tunnels", []string{"credentials", "connection", "answer", "data_endpoint"}},
		{"the data endpoint", "CULVERT_DATA_ENDPOINT=wss://", "data_endpoint", []string{"credentials", "connection", "answer", "tunnels"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, code := c.doctor("pi-1", tt.env+host)
			result, found := find(report, tt.id, doctor.Failed)
			if !found || !strings.Contains(result.Text, host+" did not answer") || !strings.Contains(result.Remedy, "check the network") {
				t.Errorf("%s does not name %s in %+v", tt.id, host, report.Results)
			}
			for _, id := range tt.others {
				if _, found := find(report, id, doctor.OK); !found {
					t.Errorf("%s is not in order in %+v", id, report.Results)
				}
			}
			if code != 1 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
