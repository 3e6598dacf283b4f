package s3sink

import "spillway/stream"

// stagedAtOnce bounds the held objects of a batch that are being staged at the same
// time while another upload waits for memory.
const stagedAtOnce = 4

// freeMemory stages held objects while another upload waits for memory, the oldest
// first. It runs until stopFreeing is closed.
func (b *Batch) freeMemory() {
	slots := make(chan struct{}, stagedAtOnce)
	for {
		select {
		case <-b.share.Wanted():
		case <-b.nudge:
		case <-b.stopFreeing:
			return
		}
		for b.share.Waited() {
			select {
			case slots <- struct{}{}:
			case <-b.stopFreeing:
				return
			}
			if !b.share.Waited() {
				<-slots
				break
			}
			o, body := b.oldestHeld()
			if o == nil {
				<-slots
				break
			}
			spawn(&b.work, func() error {
				defer func() { <-slots }()
				return o.stage(body)
			}, b.fail)
		}
	}
}

// oldestHeld returns the object that has been held for longest, and its body, which is
// no longer held. The object is nil if there is none.
func (b *Batch) oldestHeld() (*object, stream.Body) {
	for {
		b.mu.Lock()
		if len(b.held) == 0 {
			b.mu.Unlock()
			return nil, nil
		}
		o := b.held[0]
		b.held[0] = nil
		b.held = b.held[1:]
		b.mu.Unlock()
		if body := o.takeHeldBody(); body != nil {
			return o, body
		}
	}
}

// takeHeldBody returns the body if the object is still held, or nil. The caller stages
// the body.
func (o *object) takeHeldBody() stream.Body {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != held {
		return nil
	}
	o.state = staging
	return o.takeBody()
}
