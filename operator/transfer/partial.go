package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

const partialPrefix, partialSuffix = ".", ".culvert-part"

// maxName bounds the bytes of a name on most file systems.
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

// IsPartialName reports whether name is that of an incomplete file, which a copy skips.
func IsPartialName(name string) bool {
	return len(name) > len(partialPrefix)+len(partialSuffix) && strings.HasPrefix(name, partialPrefix) && strings.HasSuffix(name, partialSuffix)
}

// resumeAt returns where to continue a partial file of size bytes, if the bytes before equal the source's. Pieces that
// were under way at the interruption may have left holes behind that.
func resumeAt(partial, size int64) int64 {
	at := min(partial, size)
	if partial < size {
		at -= window * packetSize
	}
	return max(at, 0)
}
