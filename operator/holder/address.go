package holder

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ownMark stands between the key and the number in the name of a holder's own address. Its clients make their connections
// there: the socket at which new clients attach is another holder's once this one has given way to another version.
const ownMark = "~"

// ownNumber is the length of the number that tells holders with the same key apart, in bytes.
const ownNumber = 2

// listenOwn makes the address of a holder that starts. Closing the listener removes it. Few holders with a key live at a
// time, so that a second number is hardly ever needed.
func (c *Client) listenOwn() (l *net.UnixListener, err error) {
	for range 8 {
		number := make([]byte, ownNumber)
		_, _ = rand.Read(number) // it never fails
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: c.path(ownMark + hex.EncodeToString(number)), Net: "unix"})
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return l, err
}

// removeDead removes the addresses that killed holders have left. The caller has the lock, and no holder with this key is
// about to make its own: until it has, it is found at the socket for new clients.
func (c *Client) removeDead() {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), c.Key+ownMark) {
			continue
		}
		path := filepath.Join(c.Dir, e.Name())
		nc, err := dial(path)
		if err == nil {
			_ = nc.Close()
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(path)
		}
	}
}
