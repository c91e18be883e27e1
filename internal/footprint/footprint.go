package footprint

import "runtime/debug"

// Trim gives back free heap and the pages of the program's own file that the start has touched. It collects twice,
// since the content of a pool survives once, and stacks shrink by half at a time. The pages go last, with those of
// the collector.
func Trim() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	unmapText()
}
