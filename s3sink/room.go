package s3sink

import "spillway/stream"

// stagedAtOnce is how many held objects of a batch are on their way out at the
// same time while somebody waits for memory.
const stagedAtOnce = 4

// makeRoom gives memory back while another upload waits for some: it stages
// held objects, the oldest first, until nobody waits any more. It runs until
// stopRoom is closed.
func (b *Batch) makeRoom() {
	places := make(chan struct{}, stagedAtOnce)
	for {
		select {
		case <-b.share.Wanted():
		case <-b.nudge:
		case <-b.stopRoom:
			return
		}
		for b.share.Waited() {
			select {
			case places <- struct{}{}:
			case <-b.stopRoom:
				return
			}
			if !b.share.Waited() {
				<-places
				break
			}
			o, body := b.oldestHeld()
			if o == nil {
				<-places
				break
			}
			spawn(&b.work, func() error {
				defer func() { <-places }()
				return o.stage(body)
			}, b.fail)
		}
	}
}

// oldestHeld takes the body away from the object that has been held longest.
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
		if body := o.giveUpBody(); body != nil {
			return o, body
		}
	}
}

// giveUpBody returns the body if the object is still held. It is for the caller
// to stage, then.
func (o *object) giveUpBody() stream.Body {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != held {
		return nil
	}
	o.state = staging
	return o.takeBody()
}
