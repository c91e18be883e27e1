package handover

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stateName  = "culvert-state"
	socketName = "culvert-socket-" // and its number

	firstFD = 3 // sd_listen_fds(3)
	// barrier is how long systemd may take to have read all that was sent to it.
	barrier = 2 * time.Second
	// maxState bounds what is read of another process's state.
	maxState = 64 << 20
)

// Limit returns how many descriptors the service manager keeps: FileDescriptorStoreMax= of the unit, which systemd 254
// and newer put into the environment as FDSTORE, and the unit itself does for older ones. It is 0 without a store.
func Limit() int {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv("FDSTORE"))
	if err != nil {
		return 0
	}
	return n
}

// Put gives state and sockets to the service manager, which hands them to the next process of this service. The
// manager closes what no process takes. Sockets are copied: close yours afterwards.
func Put(state []byte, sockets []*os.File) error {
	fd, err := unix.MemfdCreate(stateName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("make a memory file: %w", err)
	}
	memory := os.NewFile(uintptr(fd), stateName)
	defer memory.Close()
	if _, err := memory.Write(state); err != nil {
		return fmt.Errorf("write a memory file: %w", err)
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(memory.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal a memory file: %w", err)
	}
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.close()
	for i, s := range sockets {
		if err := conn.send("FDSTORE=1\nFDNAME="+socketName+strconv.Itoa(i), s); err != nil {
			return err
		}
	}
	// The last: without it the sockets mean nothing.
	if err := conn.send("FDSTORE=1\nFDNAME="+stateName, memory); err != nil {
		return err
	}
	return conn.settle()
}

// Take returns what another process of this service has put, once. All sockets of the store that have no place in it
// are closed. state is nil if there is nothing.
func Take() (state []byte, sockets []*os.File, err error) {
	pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID"))
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(v)
	}
	if pid != os.Getpid() || n <= 0 {
		return nil, nil, nil
	}
	sockets = make([]*os.File, n)
	var forget []string
	for i := range n {
		unix.CloseOnExec(firstFD + i)
		f := os.NewFile(uintptr(firstFD+i), "stored")
		name := ""
		if i < len(names) {
			name = names[i]
		}
		number, numbered := strings.CutPrefix(name, socketName)
		switch at, err := strconv.Atoi(number); {
		case name == stateName && state == nil:
			if _, err = f.Seek(0, io.SeekStart); err == nil {
				state, err = io.ReadAll(io.LimitReader(f, maxState))
			}
			_ = f.Close()
			if err != nil {
				return nil, nil, fmt.Errorf("read the state of the last process: %w", err)
			}
		case numbered && err == nil && at >= 0 && at < n && sockets[at] == nil:
			sockets[at] = f
		default:
			_ = f.Close()
			continue
		}
		forget = append(forget, name)
	}
	if conn, err := dial(); err == nil {
		for _, name := range forget {
			_ = conn.send("FDSTOREREMOVE=1\nFDNAME="+name, nil)
		}
		conn.close()
	}
	return state, sockets, nil
}

// manager is the service manager's socket.
type manager struct {
	fd int
	to unix.SockaddrUnix
}

func dial() (*manager, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reach the service manager: %w", err)
	}
	return &manager{fd, unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}}, nil
}

func (m *manager) close() { _ = unix.Close(m.fd) }

// send sends one message with a descriptor, if f is not nil.
func (m *manager) send(message string, f *os.File) error {
	var rights []byte
	if f != nil {
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { rights = unix.UnixRights(int(fd)) }); err != nil {
			return err
		}
	}
	if err := unix.Sendmsg(m.fd, []byte(message), rights, &m.to, 0); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// settle waits until the service manager has read the message: it ignores one of a process that is gone
// (sd_notify_barrier(3)).
func (m *manager) settle() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	err = m.send("BARRIER=1", w)
	_ = w.Close()
	if err != nil {
		return err
	}
	_ = r.SetReadDeadline(time.Now().Add(barrier))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the service manager did not confirm: %w", err)
	}
	return nil
}
