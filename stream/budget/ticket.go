package budget

import (
	"context"
	"fmt"
)

// takeTicket waits for the large ticket, unless the upload has it. The upload must
// not have a buffer to fill, or space on the disk that it asked for. It keeps the
// ticket until [Share.Keep] or [Share.Close]. The error is a [*NoRoomError] or the
// context's cause.
func (s *Share) takeTicket(ctx context.Context) error {
	s.budget.mu.Lock()
	has := s.ticket
	s.budget.mu.Unlock()
	if has {
		return nil
	}
	defer s.account.During(s.waitsOn())()
	return s.budget.acquire(ctx, tickets, s, 1)
}

// Grow counts n more bytes of the upload's entry table. What the floor has no room
// for is taken out of the ticket. The error is a [*NoRoomError], which is Never if
// not even the ticket has the room, or the context's cause.
func (s *Share) Grow(ctx context.Context, n int64) error {
	if s.table += n; s.table <= s.budget.needs.Table {
		return nil
	}
	return s.fit(ctx)
}

// Shrink counts n bytes of the entry table less. If the upload has a ticket, it keeps it.
func (s *Share) Shrink(n int64) { s.table -= n }

// fit takes the ticket and makes sure that the table and the tools fit into it.
func (s *Share) fit(ctx context.Context) error {
	if err := s.takeTicket(ctx); err != nil {
		return err
	}
	b := s.budget
	need := max(0, s.table-b.needs.Table) + s.tools
	if need <= b.ticketSize {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.noRoom(fmt.Sprintf("memory for the table of its entries and a decoder, %d bytes where one upload can have %d", need, b.ticketSize))
	err.Never = true
	return err
}
