package presence

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cacheLife is how long a data endpoint is remembered. AWS promises that an account's endpoint stays; a domain
// configuration may still be replaced.
const cacheLife = 7 * 24 * time.Hour

// cache remembers data endpoints in files below the user's cache directory, one for each key. An endpoint is no secret,
// but it identifies an account, so the files are for the user alone. Without a directory it remembers nothing.
type cache struct{ dir string }

func newCache() *cache {
	base, err := os.UserCacheDir()
	if err != nil {
		return &cache{}
	}
	return &cache{filepath.Join(base, "culvert", "endpoints")}
}

func (c *cache) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16]))
}

// get returns what was put under key; "" if that is too old, or nothing.
func (c *cache) get(key string) string {
	if c.dir == "" || key == "" {
		return ""
	}
	info, err := os.Lstat(c.path(key))
	if err != nil || !info.Mode().IsRegular() || info.Size() > 256 || time.Since(info.ModTime()) > cacheLife {
		return ""
	}
	text, err := os.ReadFile(c.path(key))
	if err != nil {
		return ""
	}
	host := strings.TrimSpace(string(text))
	// The request that goes there is signed: only AWS's own names are taken from a file.
	if !strings.HasSuffix(host, ".amazonaws.com") && !strings.HasSuffix(host, ".amazonaws.com.cn") || strings.ContainsAny(host, "/:@ ") {
		return ""
	}
	return host
}

// put remembers an endpoint. It is a cache: failures do not matter.
func (c *cache) put(key, endpoint string) {
	if c.dir == "" || key == "" || os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	file, err := os.CreateTemp(c.dir, ".new-")
	if err != nil {
		return
	}
	_, err = file.WriteString(endpoint + "\n")
	if closeErr := file.Close(); err != nil || closeErr != nil || os.Rename(file.Name(), c.path(key)) != nil {
		_ = os.Remove(file.Name())
	}
}
