package presence

import (
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/cachefile"
)

// cacheLife is how long a data endpoint is remembered. AWS promises that an account's endpoint stays; a domain
// configuration may still be replaced.
const cacheLife = 7 * 24 * time.Hour

// cachedEndpoint returns the data endpoint that was remembered for a key; "" if there is none, or it is too old.
func cachedEndpoint(key string) string {
	text, written := endpointFile(key).Read(256)
	if time.Since(written) > cacheLife {
		return ""
	}
	host := strings.TrimSpace(text)
	// The request that goes there is signed: only AWS's own names are taken from a file.
	if !strings.HasSuffix(host, ".amazonaws.com") && !strings.HasSuffix(host, ".amazonaws.com.cn") || strings.ContainsAny(host, "/:@ ") {
		return ""
	}
	return host
}

// rememberEndpoint remembers a data endpoint for a key.
func rememberEndpoint(key, endpoint string) { endpointFile(key).Write(endpoint+"\n", time.Now()) }

// endpointFile is the file for a key; "" has none.
func endpointFile(key string) cachefile.File {
	if key == "" {
		return cachefile.File{}
	}
	return cachefile.Open("endpoints", key)
}
