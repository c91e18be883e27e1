package memlimit

import (
	"os"
	"testing"
)

func TestTheLeastLimitOfAGroupAndThoseAboveIt(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  uint64
	}{
		{"version 2, a unit", map[string]string{
			"/proc/self/cgroup": "0::/system.slice/culvertd.service\n",
			"/sys/fs/cgroup/system.slice/culvertd.service/memory.max": "134217728\n",
			"/sys/fs/cgroup/system.slice/memory.max":                  "max\n",
		}, 128 << 20},
		{"version 2, a slice above has less", map[string]string{
			"/proc/self/cgroup":                           "0::/a.slice/b.service\n",
			"/sys/fs/cgroup/a.slice/b.service/memory.max": "134217728\n",
			"/sys/fs/cgroup/a.slice/memory.max":           "67108864\n",
		}, 64 << 20},
		{"version 2, a container that shows the host's path", map[string]string{
			"/proc/self/cgroup":         "0::/docker/0123\n",
			"/sys/fs/cgroup/memory.max": "67108864\n",
		}, 64 << 20},
		{"version 1", map[string]string{
			"/proc/self/cgroup": "9:cpu,cpuacct:/x\n4:memory:/system.slice/culvertd.service\n0::/\n",
			"/sys/fs/cgroup/memory/system.slice/culvertd.service/memory.limit_in_bytes": "100663296\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes":                               "9223372036854771712\n",
			"/sys/fs/cgroup/cpu/x/memory.limit_in_bytes":                                "1\n",
		}, 96 << 20},
		{"no limit", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"no control groups", nil, 0},
		{"not understood", map[string]string{"/proc/self/cgroup": "x\n0::/\n", "/sys/fs/cgroup/memory.max": "-5\n"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := group(func(name string) ([]byte, error) {
				if text, ok := tt.files[name]; ok {
					return []byte(text), nil
				}
				return nil, os.ErrNotExist
			})
			if got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestThisMachineHasALimit(t *testing.T) {
	if got := Find(); got < 32<<20 {
		t.Errorf("%d bytes", got)
	}
}
