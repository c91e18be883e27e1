package services

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go.uber.org/goleak"

	"github.com/culvert-iot/culvert/internal/hint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"SSH": true, "ssh": true, "web-1": true, "a_b": true, "a:b": true, "22": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a.b": false, "a b": false, "a/b": false, "ü": false, "a\n": false, "a\x00": false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

func TestParseAddress(t *testing.T) {
	tests := []struct{ name, in, network, address string }{
		{"a bare port is on loopback", "22", "tcp", "127.0.0.1:22"},
		{"the highest port", "65535", "tcp", "127.0.0.1:65535"},
		{"a host name", "localhost:8080", "tcp", "localhost:8080"},
		{"a dotted name in its case", "Printer.example.COM:9100", "tcp", "Printer.example.COM:9100"},
		{"a name with an underscore", "my_app:80", "tcp", "my_app:80"},
		{"a rooted name", "nas.local.:445", "tcp", "nas.local.:445"},
		{"an IPv4 address", "10.0.0.7:5900", "tcp", "10.0.0.7:5900"},
		{"an IPv6 address", "[::1]:22", "tcp", "[::1]:22"},
		{"an IPv6 address with a zone", "[fe80::1%eth0]:22", "tcp", "[fe80::1%eth0]:22"},
		{"leading zeros of a port are dropped", "h:0022", "tcp", "h:22"},
		{"a metadata address that is named outright", "169.254.169.254:80", "tcp", "169.254.169.254:80"},
		{"a unix socket", "unix:/run/app.sock", "unix", "/run/app.sock"},
		{"a unix socket whose path has spaces", "unix:/run/my app", "unix", "/run/my app"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			network, address, err := ParseAddress(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.network, tt.address}, []string{network, address}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseAddressSaysWhatToWrite(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `the address is empty: write a port, "host:port" or "unix:/path"`},
		{"0", `port 0 is out of range: write 1 to 65535`},
		{"65536", `port 65536 is out of range: write 1 to 65535`},
		{"99999999999999999999", `port 99999999999999999999 is out of range: write 1 to 65535`},
		{"-1", `"-1" names no port: write "-1:22"`},
		{" 22", `" 22" contains a space or a control character: remove it`},
		{"h:22\n", `"h:22\n" contains a space or a control character: remove it`},
		{"localhost", `"localhost" names no port: write "localhost:22"`},
		{"localhost:", `"localhost:" names no port: write "localhost:22"`},
		{":22", `":22" names no host: write "127.0.0.1:22", or the port alone`},
		{"localhost:ssh", `"localhost:ssh": port "ssh" is not a number: write it in digits, 1 to 65535`},
		{"localhost:0", `"localhost:0": port 0 is out of range: write 1 to 65535`},
		{"localhost:-5", `"localhost:-5": port "-5" is not a number: write it in digits, 1 to 65535`},
		{"::1", `"::1" names no port: write "[::1]:22"`},
		{"[::1]", `"[::1]" names no port: write "[::1]:22"`},
		{"10.0.0.7", `"10.0.0.7" names no port: write "10.0.0.7:22"`},
		{"fe80::1%eth0:22", `"fe80::1%eth0:22": an IPv6 address needs brackets: write "[fe80::1%eth0]:22"`},
		{"2001:db8::zz:22", `"2001:db8::zz:22" is not an address: write a port, "host:port", "[IPv6]:port" or "unix:/path"`},
		{"2001:db8:0:0:0:0:0:1:22", `"2001:db8:0:0:0:0:0:1:22": an IPv6 address needs brackets: write "[2001:db8:0:0:0:0:0:1]:22"`},
		{"[::g]:22", `"[::g]:22": "::g" is not an IPv6 address: check its digits`},
		{"10.0.0.256:22", `"10.0.0.256:22": "10.0.0.256" is not an IPv4 address: it has four numbers of 0 to 255`},
		{"0.0.0.0:22", `"0.0.0.0:22": 0.0.0.0 is every address of this machine, not a target: write 127.0.0.1`},
		{"[::]:22", `"[::]:22": :: is every address of this machine, not a target: write 127.0.0.1`},
		{"224.0.0.1:22", `"224.0.0.1:22": 224.0.0.1 is a group of machines, not a target: write the address of one`},
		{"a..b:22", `"a..b:22": "a..b" is not a host name: it has letters, digits, dots and hyphens`},
		{"-a:22", `"-a:22": "-a" is not a host name: it has letters, digits, dots and hyphens`},
		{"user@h:22", `"user@h:22": "user@h" is not a host name: it has letters, digits, dots and hyphens`},
		{"http://localhost", `"http://localhost" is a URL, a target is an address: write "localhost:80"`},
		{"https://[::1]/x", `"https://[::1]/x" is a URL, a target is an address: write "[::1]:443"`},
		{"tcp://h:1883/", `"tcp://h:1883/" is a URL, a target is an address: write "h:1883"`},
		{"/run/app.sock", `"/run/app.sock" looks like a path: write "unix:/run/app.sock" for a unix socket`},
		{"unix:", `"unix:" names no socket: write "unix:/path/to/socket"`},
		{"unix:@abstract", `"unix:@abstract" is an abstract socket, which has no file and so no permissions: let the program listen on a path, and write "unix:/run/abstract"`},
		{"::1:22", `"::1:22" names no port, or has no brackets: write "[::1]:22", or "[::1:22]:22" for port 22 of the whole address`},
		{"2001:db8::7:8080", `"2001:db8::7:8080" names no port, or has no brackets: write "[2001:db8::7]:8080", or "[2001:db8::7:8080]:22" for port 22 of the whole address`},
		{"2001:db8::7:abc", `"2001:db8::7:abc" names no port: write "[2001:db8::7:abc]:22"`},
		{"unix:app.sock", `the unix socket "app.sock" is relative: write its whole path, as in "unix:/run/app.sock"`},
		{"unix:///run/app.sock", `"unix:///run/app.sock" is not a path: write "unix:/run/app.sock", with one slash`},
		{"unix:/a\x00b", `the unix socket "/a\x00b" contains a control character: remove it`},
		{"unix:/" + strings.Repeat("x", 107), `the unix socket's path has 108 bytes, the system takes 107: use a shorter one`},
		{strings.Repeat("x.", 127) + "com:22", `"` + strings.Repeat("x.", 127) + `com:22": the host name has 257 characters: names have at most 253`},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			network, address, err := ParseAddress(tt.in)
			if err == nil {
				t.Fatalf("accepted as %s %s", network, address)
			}
			if diff := cmp.Diff(tt.want, err.Error()+": "+hint.Of(err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"", "22", "localhost:8080", "[::1]:22", "unix:/run/app.sock", "http://h", "::1", "[", "]:1", "[]:1", "a%b:1", "[::1%]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		network, address, err := ParseAddress(s)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		written := Service{Network: network, Address: address}.Target()
		n2, a2, err := ParseAddress(written)
		if err != nil || n2 != network || a2 != address {
			t.Errorf("%q gave %s %q, which reads as %s %q, %v", s, network, address, n2, a2, err)
		}
	})
}
