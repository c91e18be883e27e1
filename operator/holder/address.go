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

// ownSuffix ends the name of a holder's own address. Its clients make their connections there: the socket at which new
// clients attach is another holder's once this one has given way to another version.
const ownSuffix = ".own"

// ownName is the part of the address's name that tells holders with the same key apart, in hex.
const ownName = 4

// listenOwn makes the address of a holder that starts. Closing the listener removes it.
func (c *Client) listenOwn() (*net.UnixListener, error) {
	name := make([]byte, ownName)
	_, _ = rand.Read(name) // it never fails
	return net.ListenUnix("unix", &net.UnixAddr{Name: c.path("." + hex.EncodeToString(name) + ownSuffix), Net: "unix"})
}

// removeDead removes the addresses that killed holders have left. The caller has the lock, and no holder with this key is
// about to make its own: until it has, it is found at the socket for new clients.
func (c *Client) removeDead() {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), c.Key+".") || !strings.HasSuffix(e.Name(), ownSuffix) {
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
