package harness

import (
	"flag"
	"strconv"
)

// Parallel lets n tests run at once, for those that wait more than they work, unless the command line says how many.
// TestMain calls it.
func Parallel(n int) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", strconv.Itoa(n))
	}
}
