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
			o, body, settled := b.takeFirstHeld()
			if o == nil {
				<-slots
				break
			}
			b.spawn(func() error {
				defer func() { <-slots }()
				defer settled()
				return o.stage(body)
			}, b.fail)
		}
	}
}

// takeFirstHeld returns the first object that holds memory, and its body, which is no
// longer held. The object is nil if there is none. The caller stages the body and then
// calls settled.
func (b *Batch) takeFirstHeld() (o *object, body stream.Body, settled func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ; b.firstHeld < b.records.Len(); b.firstHeld++ {
		r := b.records.At(b.firstHeld)
		if r.state != held || r.body == nil || r.body.Memory() == 0 {
			continue
		}
		o, body = b.object(b.firstHeld), r.takeBody()
		return o, body, b.unsettled(r, body)
	}
	return nil, nil, nil
}
