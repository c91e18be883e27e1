package transfer

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/culvert-iot/culvert/operator/openssh"
)

// errShellLost is the error of a shell that has ended.
var errShellLost = errors.New("the shell that hashes has ended")

// probe finds a program that hashes, and prints the shell's directory. It knows the programs of three systems.
const probe = `s=; for p in 'sha256sum' 'shasum -a 256' 'openssl dgst -sha256 -r'; do
if [ -z "$s" ] && [ "$(printf abc | head -c 2 2>/dev/null | $p 2>/dev/null | cut -c 1-8)" = fb8e20fc ]; then s=$p; fi; done
echo; if [ -n "$s" ]; then echo "culvert-sum 0 $(pwd -P)"; else echo "culvert-sum 0"; fi
`

// replyMark begins the lines of an answer; a login shell may print others.
const replyMark = "culvert-sum "

// shell hashes files of the other machine with a POSIX shell there. It is safe for concurrent use: it sends a command
// while earlier ones still run.
type shell struct {
	w  io.WriteCloser
	mu sync.Mutex

	next    int
	waiting map[int]chan string
	ended   bool
}

// newShell starts to use a shell that reads commands from w and answers on r. It returns the shell's directory, or "" if
// the machine has no program that hashes.
func newShell(r io.Reader, w io.WriteCloser) (*shell, string, error) {
	s := &shell{w: w, waiting: map[int]chan string{}}
	first := make(chan string, 1)
	s.waiting[0] = first
	go s.read(r)
	if _, err := io.WriteString(w, probe); err != nil {
		_ = w.Close()
		return nil, "", errShellLost
	}
	dir, ok := <-first
	if !ok {
		return nil, "", errShellLost
	}
	return s, dir, nil
}

// read hands answers to their callers until the shell ends.
func (s *shell) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), replyMark); ok && err == nil {
			id, answer, _ := strings.Cut(rest, " ")
			if n, err := strconv.Atoi(id); err == nil {
				s.mu.Lock()
				if c := s.waiting[n]; c != nil {
					c <- answer
					delete(s.waiting, n)
				}
				s.mu.Unlock()
			}
		}
		if err != nil {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, c := range s.waiting {
		close(c)
	}
}

// sum returns the SHA-256 of the first size bytes of a file by its absolute path.
func (s *shell) sum(path string, size int64) ([]byte, error) {
	c := make(chan string, 1)
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil, errShellLost
	}
	s.next++
	s.waiting[s.next] = c
	var b bytes.Buffer
	fmt.Fprintf(&b, "h=; f=%s; [ -r \"$f\" ] && h=$(head -c %d \"$f\" 2>/dev/null </dev/null | $s 2>/dev/null); echo \"%s%d ${h%%%% *}\"\n", openssh.Quote(path), size, replyMark, s.next)
	_, err := s.w.Write(b.Bytes())
	s.mu.Unlock()
	if err != nil {
		return nil, errShellLost
	}
	answer, ok := <-c
	if !ok {
		return nil, errShellLost
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(answer, `\`))
	if err != nil || len(sum) != 32 {
		return nil, errors.New("the thing could not hash it")
	}
	return sum, nil
}

func (s *shell) Close() error { return s.w.Close() }
