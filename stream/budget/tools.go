package budget

import "context"

// A Tool is a kind of decoder or encoder that takes much memory. Idle ones are kept
// for the next entry.
type Tool struct {
	Memory int64      // what one takes, in bytes
	New    func() any // makes one
	Reset  func(any)  // makes one let go of what it worked on
}

// Tools are what one entry is decoded and compressed with. They count for as long as
// they are taken.
type Tools struct {
	share *Share
	taken map[*Tool]any
	size  int64 // bytes
}

// Tools takes tools for an entry, out of the upload's ticket. Whoever takes them
// releases them. The error is a [*NoRoomError] or the context's cause.
func (s *Share) Tools(ctx context.Context, kinds ...*Tool) (*Tools, error) {
	t := &Tools{share: s}
	if len(kinds) == 0 {
		return t, nil
	}
	for _, kind := range kinds {
		t.size += kind.Memory
	}
	s.tools += t.size
	if err := s.fit(ctx); err != nil {
		s.tools -= t.size
		return nil, err
	}
	t.taken = make(map[*Tool]any, len(kinds))
	b := s.budget
	b.mu.Lock()
	for _, kind := range kinds {
		t.taken[kind] = b.idle.tool(kind)
	}
	b.trim()
	b.mu.Unlock()
	for kind, tool := range t.taken {
		if tool == nil {
			t.taken[kind] = kind.New()
		}
	}
	return t, nil
}

// Get returns the tool of that kind, nil if it was not taken.
func (t *Tools) Get(kind *Tool) any { return t.taken[kind] }

// Recycle leaves the tools, which have worked well, to later entries. A tool that has
// failed is not used again. The caller still releases t.
func (t *Tools) Recycle() {
	for kind, tool := range t.taken {
		kind.Reset(tool)
	}
	b := t.share.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	for kind, tool := range t.taken {
		b.idle.tools[kind] = append(b.idle.tools[kind], tool)
	}
	clear(t.taken)
	b.trim()
}

// Release gives the room back to the upload.
func (t *Tools) Release() {
	t.share.tools -= t.size
	t.size = 0
	clear(t.taken)
}

// idle is part buffers and tools that nobody uses. Their room is free: they are
// dropped when somebody takes it.
type idle struct {
	parts [][]byte // of Budget.partSize bytes each
	tools map[*Tool][]any
}

// Idle is the memory of what nobody uses and is kept for the next upload, in bytes.
func (b *Budget) Idle() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.idle.size(b.partSize)
}

func (i *idle) size(partSize int) int64 {
	n := int64(len(i.parts)) * int64(partSize)
	for kind, tools := range i.tools {
		n += int64(len(tools)) * kind.Memory
	}
	return n
}

// part returns an idle part buffer, nil if there is none.
func (i *idle) part() []byte { return pop(&i.parts) }

// tool returns an idle tool, nil if there is none.
func (i *idle) tool(kind *Tool) any {
	tools := i.tools[kind]
	tool := pop(&tools)
	i.tools[kind] = tools
	return tool
}

// drop drops one tool, or else a part buffer.
func (i *idle) drop() {
	for kind, tools := range i.tools {
		if len(tools) > 0 {
			i.tool(kind)
			return
		}
	}
	i.part()
}

// pop takes the last element off, the zero value if there is none.
func pop[T any](all *[]T) (last T) {
	if n := len(*all); n > 0 {
		(*all)[n-1], last = last, (*all)[n-1] // so that the array does not keep it
		*all = (*all)[:n-1]
	}
	return last
}

// trim drops idle buffers and tools whose room is in use. The caller holds b.mu.
func (b *Budget) trim() {
	for b.idle.size(b.partSize) > b.free[parts] {
		b.idle.drop()
	}
}
