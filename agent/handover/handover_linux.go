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

// Names in the store are culvert-state-TAG and culvert-socket-TAG-NUMBER. What is put together has one tag, so that
// rests of another hand-over are not taken for it. Later tags are greater as strings; the first versions of culvertd had
// none.
const (
	prefix     = "culvert-"
	stateName  = prefix + "state"
	socketName = prefix + "socket"

	// maxNumber bounds a socket's number: more than any unit keeps.
	maxNumber = 1 << 16
	// barrier is how long systemd may take to have read all that was sent to it.
	barrier = 2 * time.Second
	// maxState bounds what is read of another process's state.
	maxState = 64 << 20

	firstFD = 3 // sd_listen_fds(3)
)

var errNoState = errors.New("the state of the last process is missing")

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
// manager closes what no process takes. Sockets are copied: close yours afterwards. It takes 2 s at most, unless the
// manager does not read for longer.
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
	tag := newTag()
	// The first: a store that is full drops what comes last, and without the state the sockets mean nothing.
	if err := conn.store(stateName+tag, memory); err != nil {
		return err
	}
	for i, s := range sockets {
		if err := conn.store(socketName+tag+"-"+strconv.Itoa(i), s); err != nil {
			return err
		}
	}
	return conn.settle()
}

// newTag returns a tag that is greater than all earlier ones of this boot, which is as long as a store lasts.
func newTag() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // Linux has this clock
	return "-" + strconv.FormatInt(1e18+now.Nano(), 10)
}

// Take returns what another process of this service has put, once: the sockets at their places in Put's list, and nil
// where the manager has lost one. It closes everything else in the store, as the sockets' linger option
// has it. state is nil if there is nothing. On an error nothing is left open.
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
	all := make([]stored, n)
	for i := range all {
		unix.CloseOnExec(firstFD + i)
		all[i].file = os.NewFile(uintptr(firstFD+i), "stored")
		if i < len(names) {
			all[i].name = names[i]
		}
	}
	forget(all)
	return sortOut(all)
}

// stored is one descriptor of the store.
type stored struct {
	name string
	file *os.File
}

// forget empties the store of all that is ours, so that no other process gets it, and no socket stays open when this
// process closes it: systemd is told to keep even those that have ended.
func forget(all []stored) {
	conn, err := dial()
	if err != nil {
		return
	}
	defer conn.close()
	for _, s := range all {
		if strings.HasPrefix(s.name, prefix) && conn.send("FDSTOREREMOVE=1\nFDNAME="+s.name, nil) != nil {
			return
		}
	}
}

// sortOut returns the state and the sockets of the latest hand-over whose state is there, and closes all others: the
// first versions of culvertd put the state last, and may have died before; and rests of a hand-over may be left.
func sortOut(all []stored) (state []byte, sockets []*os.File, err error) {
	var latest *os.File
	tag := ""
	for i := range all {
		s := &all[i]
		if t, ok := strings.CutPrefix(s.name, stateName); ok && (latest == nil || t > tag) {
			latest, tag = s.file, t
		} else if strings.HasPrefix(s.name, socketName) {
			err = errNoState
		}
	}
	if latest != nil {
		_, _ = latest.Seek(0, io.SeekStart)
		if state, err = io.ReadAll(io.LimitReader(latest, maxState)); err != nil {
			state, err = nil, fmt.Errorf("read the state of the last process: %w", err)
		}
	}
	for i := range all {
		s := &all[i]
		number, ok := strings.CutPrefix(s.name, socketName+tag+"-")
		at, bad := strconv.Atoi(number)
		if !ok || bad != nil || state == nil || at < 0 || at >= maxNumber {
			_ = s.file.Close()
			continue
		}
		for at >= len(sockets) {
			sockets = append(sockets, nil)
		}
		sockets[at] = s.file // the only one of its name
	}
	return state, sockets, err
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

// store puts a descriptor into the store. FDPOLL=0: else systemd would close a socket whose peer ends the connection
// before the next process is there, with the peer's last bytes unread (since 246; an older one does so anyway).
func (m *manager) store(name string, f *os.File) error {
	return m.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, f)
}

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
	// A manager that hangs must not hang this process. A call with a time limit ends at a signal, whatever the handler's
	// flags (signal(7)), such as when a hook's command has ended.
	until := time.Now().Add(barrier)
	for {
		left := unix.NsecToTimeval(max(time.Until(until), time.Millisecond).Nanoseconds()) // 0 would be no limit
		_ = unix.SetsockoptTimeval(m.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &left)
		switch err := unix.Sendmsg(m.fd, []byte(message), rights, &m.to, 0); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("tell the service manager: %w", err)
		}
	}
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
