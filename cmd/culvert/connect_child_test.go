package main

import (
	"net"
	"slices"
	"testing"
)

func TestTheCommandOfConnectStandsBehindTheDashes(t *testing.T) {
	for name, tt := range map[string]struct {
		args         []string
		dash         int
		own, command []string
		is           bool
	}{
		"none":                             {[]string{"pi-1", "SSH"}, -1, []string{"pi-1", "SSH"}, nil, false},
		"behind the services":              {[]string{"pi-1", "SSH", "ls", "-l"}, 2, []string{"pi-1", "SSH"}, []string{"ls", "-l"}, true},
		"with dashes of its own":           {[]string{"pi-1", "ssh", "--", "x"}, 1, []string{"pi-1"}, []string{"ssh", "--", "x"}, true},
		"missing":                          {[]string{"pi-1"}, 1, []string{"pi-1"}, []string{}, true},
		"dashes that end the flags only":   {[]string{"pi-1", "SSH"}, 0, []string{"pi-1", "SSH"}, nil, false},
		"behind dashes that end the flags": {[]string{"pi-1", "--", "ls"}, 0, []string{"pi-1"}, []string{"ls"}, true},
	} {
		own, command, is := splitCommand(tt.args, tt.dash)
		if !slices.Equal(own, tt.own) || !slices.Equal(command, tt.command) || is != tt.is {
			t.Errorf("%s: %q, %q, %v", name, own, command, is)
		}
	}
}

type listenerAt struct {
	net.Listener

	address string
}

func (l listenerAt) Addr() net.Addr { return l }
func (listenerAt) Network() string  { return "tcp" }
func (l listenerAt) String() string { return l.address }

func TestACommandFindsAddressesThatItCanConnectTo(t *testing.T) {
	c := &child{thing: "pi-1", names: []string{variable("my-web:1"), variable("SSH")}}
	env := c.environment([]net.Listener{listenerAt{address: "0.0.0.0:80"}, listenerAt{address: "[::]:22"}})
	for _, want := range []string{
		"CULVERT_THING=pi-1", "CULVERT_ADDRESS=127.0.0.1:80", "CULVERT_HOST=127.0.0.1", "CULVERT_PORT=80",
		"CULVERT_MY_WEB_1_ADDRESS=127.0.0.1:80", "CULVERT_SSH_ADDRESS=[::1]:22", "CULVERT_SSH_HOST=::1", "CULVERT_SSH_PORT=22",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %q", want, env)
		}
	}
}
