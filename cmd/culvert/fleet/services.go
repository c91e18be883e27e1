//go:build unix

package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/culvert-iot/culvert/services"
)

// serviceHost runs the devices' services, ssh and a web page, on addresses of its own for each device.
type serviceHost struct {
	ctx context.Context //nolint:containedctx // of all devices: ends the servers' processes
	log *slog.Logger
	dir string // of keys

	sshd      string // path of OpenSSH's server; "" if there is none
	sshConfig string
	noSSH     string

	web    *http.Server
	things sync.Map // address of a web page: name of its thing

	mu        sync.Mutex
	listeners []net.Listener
	tasks     sync.WaitGroup
}

func newServiceHost(ctx context.Context, boxDir string, log *slog.Logger) *serviceHost {
	h := &serviceHost{ctx: ctx, log: log, dir: filepath.Join(boxDir, "ssh")}
	h.web = &http.Server{Handler: http.HandlerFunc(h.page), ReadHeaderTimeout: 10 * time.Second}
	if err := h.prepareSSH(); err != nil {
		h.sshd, h.noSSH = "", err.Error()
	}
	return h
}

func (h *serviceHost) close() {
	_ = h.web.Close()
	h.mu.Lock()
	for _, l := range h.listeners {
		_ = l.Close()
	}
	h.mu.Unlock()
	h.tasks.Wait()
}

// forDevice starts a device's servers and returns its services.
func (h *serviceHost) forDevice(thing string) ([]services.Service, error) {
	web, err := h.listen()
	if err != nil {
		return nil, err
	}
	h.things.Store(web.Addr().String(), thing)
	h.tasks.Go(func() {
		if err := h.web.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("a device's web server has ended", "thing", thing, "error", err)
		}
	})
	list := []services.Service{{Name: "HTTP", Network: "tcp", Address: web.Addr().String()}}
	if h.sshd == "" {
		return list, nil
	}
	ssh, err := h.listen()
	if err != nil {
		return nil, err
	}
	h.tasks.Go(func() { h.acceptSSH(thing, ssh) })
	return append(list, services.Service{Name: "SSH", Network: "tcp", Address: ssh.Addr().String()}), nil
}

func (h *serviceHost) listen() (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(h.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("a device's service: %w", err)
	}
	h.mu.Lock()
	h.listeners = append(h.listeners, l)
	h.mu.Unlock()
	return l, nil
}

// page names the device that it belongs to. Each device has an address of its own.
func (h *serviceHost) page(w http.ResponseWriter, r *http.Request) {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return
	}
	thing, _ := h.things.Load(local.String())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "This is %v, a device of the sandbox.\n", thing) //nolint:gosec // plain text
}

func (h *serviceHost) acceptSSH(thing string, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				h.log.Error("a device's ssh has ended", "thing", thing, "error", err)
			}
			return
		}
		h.tasks.Go(func() {
			defer c.Close()
			h.serveSSH(thing, c)
		})
	}
}

// serveSSH hands a connection to OpenSSH's server, as inetd does.
func (h *serviceHost) serveSSH(thing string, c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	file, err := tcp.File()
	if err != nil {
		return
	}
	defer file.Close()
	cmd := exec.CommandContext(h.ctx, h.sshd, "-i", "-e", "-f", filepath.Join(h.dir, "sshd_config"), "-o", "SetEnv=CULVERT_THING="+thing)
	cmd.Stdin, cmd.Stdout = file, file
	_ = cmd.Start()
	_ = tcp.Close() // the server has its own
	_ = cmd.Wait()
}

// prepareSSH makes keys and configurations.
func (h *serviceHost) prepareSSH() error {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		return errors.New("OpenSSH is not installed")
	}
	if h.sshd = findSSHD(); h.sshd == "" {
		return errors.New("OpenSSH's server (sshd) is not installed")
	}
	if os.Geteuid() == 0 && runtime.GOOS == "linux" {
		// As root, sshd needs its directory for privilege separation, which otherwise only the system's service makes. Other
		// systems have it elsewhere, and always.
		if _, err := os.Stat("/run/sshd"); err != nil {
			return errors.New("sshd needs the directory /run/sshd when root runs it (mkdir -m 755 /run/sshd)")
		}
	}
	who, err := user.Current()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	for _, key := range []string{"host", "client"} {
		path := filepath.Join(h.dir, key)
		if _, err := os.Stat(path); err == nil {
			continue // of an earlier run
		}
		if out, err := exec.CommandContext(h.ctx, keygen, "-q", "-t", "ed25519", "-N", "", "-C", "culvert sandbox", "-f", path).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	public, err := os.ReadFile(filepath.Join(h.dir, "host.pub"))
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"known_hosts": "* " + string(public),
		"sshd_config": fmt.Sprintf("HostKey %q\nAuthorizedKeysFile %q\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"+
			"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nLogLevel QUIET\n",
			filepath.Join(h.dir, "host"), filepath.Join(h.dir, "client.pub")),
		"config": fmt.Sprintf("User %s\nIdentityFile %q\nIdentitiesOnly yes\nUserKnownHostsFile %q\nStrictHostKeyChecking yes\n",
			who.Username, filepath.Join(h.dir, "client"), filepath.Join(h.dir, "known_hosts")),
	} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(h.ctx, h.sshd, "-t", "-f", filepath.Join(h.dir, "sshd_config")).CombinedOutput(); err != nil {
		return fmt.Errorf("sshd: %s", strings.TrimSpace(string(out)))
	}
	h.sshConfig = filepath.Join(h.dir, "config")
	return nil
}

// findSSHD returns sshd's absolute path; sshd refuses to start by any other.
func findSSHD() string {
	for _, name := range []string{"sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd", "/usr/bin/sshd"} {
		if path, err := exec.LookPath(name); err == nil {
			if path, err = filepath.Abs(path); err == nil {
				return path
			}
		}
	}
	return ""
}
