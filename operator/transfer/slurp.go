package transfer

import (
	"errors"
	"io"
)

// hasOddSize reports whether a file of that size may hold another number of bytes: the kernel's files in /proc claim 0,
// and those in /sys a page.
func hasOddSize(size int64) bool {
	return size == 0 || size == 4<<10 || size == 16<<10 || size == 64<<10
}

// maxSlurp is more than the kernel's files hold.
const maxSlurp = 16 << 20

// slurp reads a file to its end, whatever size it claims.
func slurp(in reader) ([]byte, error) {
	var content []byte
	buf := make([]byte, packetSize)
	for {
		n, err := in.ReadAt(buf, int64(len(content)))
		content = append(content, buf[:n]...)
		switch {
		case isEOF(err):
			return content, nil
		case err != nil:
			return nil, failf(err, "read it")
		case len(content) > maxSlurp:
			return nil, errors.New("it does not say how large it is, and does not end")
		}
	}
}

// memory is a file whose content is in memory.
type memory struct {
	reader

	content []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m.content)) {
		return 0, io.EOF
	}
	n := copy(p, m.content[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
