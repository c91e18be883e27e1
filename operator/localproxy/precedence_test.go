package localproxy

import (
	"net"
	"os"
	"strings"
	"testing"
)

func TestPrecedence(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := t.TempDir()
	file := write(t, dir, "config.ini", "access-token = from-file\nregion = file-1\nverbose = 2\n")
	env := map[string]string{
		"AWSIOT_TUNNEL_ACCESS_TOKEN": "from-env\n", "AWSIOT_TUNNEL_REGION": "env-1",
		"AWSIOT_TUNNEL_CLIENT_TOKEN": strings.Repeat("e", 40),
	}
	endpointEnv := map[string]string{"AWSIOT_TUNNEL_ACCESS_TOKEN": "from-env", "AWSIOT_TUNNEL_ENDPOINT": "env.example.com"}
	tests := []struct {
		name            string
		flags           Values
		env             map[string]string
		token, endpoint string
		verbose         int
	}{
		{"the environment alone", Values{optSource: "0"}, env, "from-env", "wss://data.tunneling.iot.env-1.amazonaws.com:443", 4},
		{"an endpoint of the environment", Values{optSource: "0"}, endpointEnv, "from-env", "wss://env.example.com:443", 4},
		{"a file wins over the environment", Values{optSource: "0", optConfig: file}, env, "from-file", "wss://data.tunneling.iot.file-1.amazonaws.com:443", 2},
		{
			"a flag wins over both",
			Values{optSource: "0", optConfig: file, optAccessToken: "from-flag", optRegion: "flag-1", optVerbose: "6"},
			env,
			"from-flag", "wss://data.tunneling.iot.flag-1.amazonaws.com:443", 6,
		},
		{"an endpoint as a flag wins over the environment's region", Values{optSource: "0", optEndpoint: "flag.example.com"}, env, "from-env", "wss://flag.example.com:443", 4},
		{
			"a region of the file wins over the environment's endpoint",
			Values{optSource: "0", optConfig: file},
			endpointEnv,
			"from-file", "wss://data.tunneling.iot.file-1.amazonaws.com:443", 2,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(tt.flags, func(name string) string { return tt.env[name] })
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, tt.token, c.AccessToken.Reveal())
			wantEqual(t, tt.endpoint, c.Endpoint)
			wantEqual(t, tt.verbose, c.Verbose)
		})
	}
}

func TestTheDefaultDirectoryIsReadOnlyWithoutMappings(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, dir, "config/map.ini", "SSH=2222\nnot a mapping\n")
	for _, tt := range []struct {
		name  string
		flags Values
		want  []Mapping
	}{
		{"-m", base(optSource, "-", optMode, "src"), []Mapping{{"SSH", "tcp", "127.0.0.1:2222"}}},
		{"-s", base(optSource, "1"), []Mapping{{"", "tcp", "127.0.0.1:1"}}},
		{"-d", destinationBase(), []Mapping{{"", "tcp", "localhost:22"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			delete(tt.flags, optAccessToken)
			c, err := Load(tt.flags, func(name string) string { return map[string]string{accessTokenEnv: "token"}[name] })
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, tt.want, c.Mappings)
			wantEqual(t, 0, len(c.Warnings)) // a directory of that name may be about something else
		})
	}
}

func TestTheEnvironmentsWebProxyIsUsed(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 200)
		n, _ := c.Read(buf)
		asked <- string(buf[:n])
		_, _ = c.Write([]byte("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"))
	}()
	t.Setenv("https_proxy", "http://"+l.Addr().String())
	t.Setenv("no_proxy", "direct.example.com")
	cfg, err := Load(base(optRegion, "-", optEndpoint, "tunnel.example.com"), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Verbose = 0
	err = Run(t.Context(), cfg, os.Stderr)
	if err == nil || !strings.Contains(err.Error(), "https_proxy") {
		t.Errorf("error %v, want one that says what to do about the proxy", err)
	}
	if got := <-asked; !strings.HasPrefix(got, "CONNECT tunnel.example.com:443 ") {
		t.Errorf("the proxy was asked %q", got)
	}
}
