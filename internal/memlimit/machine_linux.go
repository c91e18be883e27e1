package memlimit

import "syscall"

// machine returns the machine's memory in bytes. A hardened unit hides /proc/meminfo, so the kernel is asked.
func machine() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(max(info.Unit, 1)) //nolint:unconvert // 32 bits on some machines
}
