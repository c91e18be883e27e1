package transfer

import (
	"context"
	"sync"
)

// window bounds the pieces of [packetSize] under way, over all files of a session: 1 MiB fills 4 MB/s at a round trip
// of 250 ms, five times AWS's limit.
const window = 32

// piece is one request of a pump.
type piece struct {
	off  int64
	data []byte
	err  error
	done chan struct{}
}

// pump moves the bytes of a file in pieces. prepare and finish are called for each piece in order, request for many at
// once between the two. Each may be nil. A piece that fails ends the pump.
type pump struct {
	prepare, request, finish func(p *piece) error
}

// slots has room for the pieces under way.
type slots struct {
	free    chan struct{}
	buffers sync.Pool
}

func newSlots() *slots {
	return &slots{make(chan struct{}, window), sync.Pool{New: func() any { b := make([]byte, packetSize); return &b }}}
}

// run moves the bytes from off up to size.
func (p *pump) run(ctx context.Context, s *slots, off, size int64) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pending := make(chan *piece, window)
	go func() {
		defer close(pending)
		for at := off; at < size; {
			select {
			case s.free <- struct{}{}:
			case <-ctx.Done():
				return
			}
			buf := *s.buffers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in it
			one := &piece{off: at, data: buf[:min(packetSize, size-at)], done: make(chan struct{})}
			at += int64(len(one.data))
			if p.prepare != nil {
				one.err = p.prepare(one)
			}
			failed := one.err != nil
			pending <- one
			if failed {
				close(one.done)
				return
			}
			go func() {
				defer close(one.done)
				if p.request != nil {
					one.err = p.request(one)
				}
			}()
		}
	}()
	done := off
	for one := range pending {
		<-one.done
		if err == nil {
			err = one.err
			if err == nil && p.finish != nil {
				err = p.finish(one)
			}
			if err == nil {
				done += int64(len(one.data))
			} else {
				cancel()
			}
		}
		buf := one.data[:packetSize]
		s.buffers.Put(&buf)
		<-s.free
	}
	if err == nil && done < size {
		err = context.Cause(ctx)
	}
	return err
}
