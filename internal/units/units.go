package units

import "fmt"

// Bytes formats a number of bytes in decimal units, as is usual for network rates, in at most nine characters.
func Bytes[N int64 | uint64](n N) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1000, 0
	const names = "kMGTPE"
	for value >= 999.95 && unit < len(names)-1 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %cB", value, names[unit])
}
