package presence

import (
	"context"
	"sync"

	"github.com/culvert-iot/culvert/operator/iotdata"
)

// access is what the caller may see of MQTT clients, as far as that is known.
type access struct {
	mu        sync.Mutex
	noAddress bool // the caller may see connections, and no addresses
	refused   bool // the caller was last refused a connection as such
}

func (a *access) get() (noAddress, refused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.noAddress, a.refused
}

// set sets one of a's fields.
func (a *access) set(field *bool, to bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*field = to
}

// connection returns the connection of a client, with its address if the caller may see it. Policies name clients one by
// one or by a pattern, so that a refusal does not stand for the next client. But then that one is first asked about
// without its address, lest each client that the caller may not see takes two calls.
func (a *access) connection(ctx context.Context, data *iotdata.Client, clientID string) (*iotdata.Connection, error) {
	noAddress, refused := a.get()
	if !noAddress && !refused {
		c, err := data.GetConnection(ctx, clientID, true)
		if !iotdata.IsDenied(err) {
			return c, err
		}
	}
	plain, err := data.GetConnection(ctx, clientID, false)
	switch {
	case iotdata.IsDenied(err):
		a.set(&a.refused, true)
	case err != nil, noAddress:
	case !refused:
		a.set(&a.noAddress, true)
	default:
		a.set(&a.refused, false)
		c, err := data.GetConnection(ctx, clientID, true)
		if err == nil {
			return c, nil
		}
		if iotdata.IsDenied(err) {
			a.set(&a.noAddress, true)
		}
	}
	return plain, err
}
