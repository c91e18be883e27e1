package socketpair

import (
	"io"
	"net"
	"testing"
)

func TestEachEndHearsTheOtherToItsEnd(t *testing.T) {
	a, b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		if _, err := io.WriteString(ends[0], "hello"); err != nil {
			t.Fatal(err)
		}
		if err := ends[0].(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(ends[1]); err != nil || string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
	}
}
