package memlimit

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// unlimited is what cgroup v1 shows, rounded down to pages, where nothing is limited.
const unlimited = 1 << 60

// Find returns the limit in bytes: the least of the process's control group and the groups above it
// (version 1 or 2), or half of the machine's memory, which is not the process's alone. It returns 0 if
// neither can be found.
func Find() uint64 {
	limit := machine() / 2
	if group := group(os.ReadFile); group > 0 && (limit == 0 || group < limit) {
		return group
	}
	return limit
}

// group returns the limit of the process's control group, 0 for none. Within a container the group's
// path may be the host's: then the root that is mounted is the container's own.
func group(read func(string) ([]byte, error)) uint64 {
	list, err := read("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := uint64(0)
	for line := range strings.Lines(string(list)) {
		// hierarchy:controllers:path (cgroups(7))
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		switch {
		case parts[1] == "": // version 2
		case hasMemory(parts[1]):
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			if text, err := read(path.Join(root, dir, file)); err == nil {
				n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
				if err == nil && n > 0 && n < unlimited && (least == 0 || n < least) {
					least = n
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

func hasMemory(controllers string) bool {
	for c := range strings.SplitSeq(controllers, ",") {
		if c == "memory" {
			return true
		}
	}
	return false
}
