package session

import (
	"fmt"
	"strings"

	"github.com/culvert-iot/culvert/internal/hint"
)

// defaultService finds the target of a stream that names no service: a V1 source's, such as the browser
// in the AWS console, or one on a tunnel that was opened without services. The tunnel's own list counts
// first, then the notification's, then what is configured on this device; each only if it leaves no choice.
func defaultService(tunnel, notified, configured []string) (string, error) {
	for _, list := range [][]string{tunnel, notified, configured} {
		if len(list) == 1 {
			return list[0], nil
		}
	}
	if len(tunnel) == 0 {
		tunnel = notified
	}
	if len(tunnel) == 0 {
		return "", hint.Wrap(fmt.Errorf("the tunnel and its source name no service and %d are configured here", len(configured)), "open the tunnel with one service")
	}
	return "", hint.Wrap(fmt.Errorf("the tunnel has several services (%s) and the source named none", strings.Join(tunnel, ", ")),
		"open a tunnel with one service, or use a source that speaks V2 or V3")
}
