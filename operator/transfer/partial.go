package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

const partialPrefix, partialSuffix = ".", ".culvert-part"

// maxName is how many bytes a name may have on most file systems.
const maxName = 255

// PartialName is the name of a file while it is incomplete, beside its own place.
func PartialName(name string) string {
	dir, base := path.Split(name)
	if len(base)+len(partialPrefix)+len(partialSuffix) > maxName {
		sum := sha256.Sum256([]byte(base))
		base = strings.ToValidUTF8(base[:100], "") + "-" + hex.EncodeToString(sum[:8])
	}
	return dir + partialPrefix + base + partialSuffix
}

// IsPartialName reports whether a file of that name is an incomplete one: those are not copied.
func IsPartialName(name string) bool {
	return len(name) > len(partialPrefix)+len(partialSuffix) && strings.HasPrefix(name, partialPrefix) && strings.HasSuffix(name, partialSuffix)
}

// resumeAt is where a partial file of so many bytes is continued, provided that what is in front is as in the source. The
// pieces that may have been under way when it was interrupted can have left holes.
func resumeAt(partial, size int64) int64 {
	at := min(partial, size)
	if partial < size {
		at -= window * packetSize
	}
	return max(at, 0)
}
