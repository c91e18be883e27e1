package layering

// module is where every import path of this repository starts.
const module = "github.com/culvert-iot/culvert/"

// layer says what one package may import from the module. A path that ends in /... stands for the
// package itself and everything below it. The first layer whose packages match is the one that counts.
type layer struct {
	packages string
	may      []string
	why      string
}

// layers is the order of the house. A new package needs a line here, and a new edge a reason.
var layers = []layer{
	{"test/...", []string{"..."}, "tests of everything together import everything"},
	{"agent/tpmkey", []string{"internal/hint"}, "a key in a TPM knows no configuration"},
	{"agent/metrics", []string{"internal/..."}, "the server of figures does not know what they mean"},
	{"internal/netdial", []string{"internal/..."}, "a proxy's URL may hold a password, and its certificate is looked at"},
	{"internal/trust", []string{"internal/..."}, "files are judged with a hint"},
	{"internal/...", []string{"internal/..."}, "small parts stand alone"},
	{"configs", nil, "it holds the files that ship and nothing else"},
	{"services", []string{"internal/..."}, "a name becomes an address without regard to the caller"},

	{"proxy/frame", nil, "the codec is pure"},
	{"proxy/wsconn", []string{"internal/..."}, "a websocket does not know what its bytes mean"},
	{"proxy/stream", []string{"proxy/frame", "proxy/resume", "internal/..."}, "streams know no websocket and no service names"},
	{"proxy/resume", []string{"internal/..."}, "a resumable connection knows no websocket and no frames"},
	{"proxy", []string{"proxy/frame", "proxy/wsconn", "proxy/stream", "proxy/resume", "internal/..."}, "the data plane knows no MQTT, no TOML and no retries"},

	{"agent/config", []string{"services", "internal/..."}, "configuration knows no network"},
	{"agent/notify", []string{"internal/..."}, "notifications know no tunnels"},
	{"agent/control", []string{"internal/..."}, "the control socket knows no tunnels"},
	{"agent/session", []string{"proxy", "services", "internal/..."}, "a session knows no MQTT"},
	{"agent/check", []string{"agent/...", "proxy/wsconn", "services", "internal/..."}, "the doctor knocks at the data endpoint with a tunnel's own handshake"},
	{"agent/...", []string{"agent/...", "services", "internal/..."}, "the agent wires its parts and does not know the wire"},

	{"operator/...", []string{"operator/...", "proxy", "proxy/wsconn", "services", "internal/..."}, "the operator's side does not know the device's"},

	{"sandbox/...", []string{"sandbox/...", "proxy/frame", "internal/..."}, "the sandbox shares only the codec with the product, so that it can judge it"},

	{"cmd/culvertd/...", []string{"cmd/culvertd/...", "agent/...", "services", "configs", "internal/..."}, "the daemon links no sandbox and no AWS SDK"},
	{"cmd/culvert/demo", []string{"sandbox/...", "proxy/...", "services", "internal/..."}, "the demo starts the daemon as a process"},
	{"cmd/culvert/fleet", []string{"agent", "agent/config", "sandbox", "services", "internal/..."}, "the sandbox's fleet is the real agent, the one place where the operator's command has it"},
	{"cmd/culvert/...", []string{"cmd/culvert/...", "operator/...", "sandbox/...", "proxy/...", "services", "internal/..."}, "the operator's command reaches devices from outside; only its sandbox's fleet has the agent"},
}

// home says which packages may import a third-party module. One module, one home, so that it can be
// replaced; the sandbox has homes of its own. The first line that matches counts.
type home struct {
	imports  string // a path, or with /... everything below it too
	packages []string
	why      string
}

var homes = []home{
	{"github.com/gorilla/websocket", []string{"proxy/wsconn", "sandbox/relay"}, "one websocket package, one home"},
	{"github.com/eclipse/paho.mqtt.golang/...", []string{"agent/notify"}, "MQTT stays in agent/notify"},
	{"github.com/pelletier/go-toml/v2/...", []string{"agent/config"}, "TOML stays in agent/config"},
	{"github.com/google/go-tpm/...", []string{"agent/tpmkey"}, "a TPM's keys have one home"},
	{"github.com/mochi-mqtt/server/v2/...", []string{"sandbox/broker"}, "the broker is the sandbox's"},
	{"github.com/spf13/...", []string{"cmd/culvert/..."}, "only the operator's command has subcommands enough for cobra"},
	{"github.com/coreos/go-systemd/v22/daemon", []string{"cmd/culvertd/..."}, "only the daemon's main talks to systemd"},
	{"github.com/aws/...", []string{"operator/...", "cmd/culvert/..."}, "the AWS SDK stays with the operator"},
	{"github.com/pkg/sftp", []string{"operator/transfer"}, "SFTP has one home, and the device none"},
	{"github.com/jmespath-community/go-jmespath/pkg/parsing", []string{"operator/...", "cmd/culvert/..."}, "queries are the operator's output"},
	{"go.yaml.in/yaml/v3", []string{"operator/...", "cmd/culvert/..."}, "YAML is the operator's input and output"},
	{"google.golang.org/protobuf/encoding/protowire", []string{"proxy/frame"}, "the codec has one home"},
	{"google.golang.org/protobuf/...", nil, "generated protobuf costs a device more than a megabyte"},
	{"golang.org/x/...", []string{"..."}, "the Go project's own"},
}

// unlinked are the packages that a binary must not contain, not even by way of others.
var unlinked = map[string][]home{
	"cmd/culvertd": {
		{module + "operator/...", nil, "it is the other end"},
		{module + "sandbox/...", nil, "it is no part of the product"},
		{"github.com/aws/...", nil, "it costs a device megabytes"},
		{"github.com/mochi-mqtt/...", nil, "it is the sandbox's"},
		{"github.com/spf13/...", nil, "it is large"},
		{"google.golang.org/protobuf/proto", nil, "the codec does without it"},
		{"google.golang.org/protobuf/reflect/...", nil, "the codec does without it"},
		{"google.golang.org/protobuf/runtime/...", nil, "the codec does without it"},
		{"testing/...", nil, "it registers flags and is for tests"},
		{"text/template/...", nil, "it stops the linker from dropping unused methods"},
		{"html/template", nil, "it stops the linker from dropping unused methods"},
		{"regexp/...", nil, "it costs a device 150 KB for what a few loops do"},
	},
	"cmd/culvert": {
		{module + "agent/check", nil, "a fleet in the sandbox needs no doctor"},
		{module + "cmd/culvertd/...", nil, "the demo starts the daemon as a process"},
		{"testing/...", nil, "it registers flags and is for tests"},
	},
}
