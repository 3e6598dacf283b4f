package stream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestTableNeverMovesRecords(t *testing.T) {
	var table Table[int]
	var records []*int
	for i := range 10 * blockRecords {
		records = append(records, table.Add(i))
	}
	if table.Len() != len(records) {
		t.Errorf("the table has %d records, want %d", table.Len(), len(records))
	}
	for i, r := range records {
		if table.At(i) != r || *r != i {
			t.Fatalf("record %d has moved, or is %d", i, *table.At(i))
		}
	}
}

// TestNames has names of every length, so blocks end at any offset.
func TestNames(t *testing.T) {
	var (
		kept names
		want []string
		at   []uint32
	)
	for length := range 1025 {
		name := strings.Repeat(fmt.Sprint(length%10), length)
		want, at = append(want, name), append(at, kept.add(name))
	}
	for i, name := range want {
		if got := kept.at(at[i], uint16(len(name))); got != name {
			t.Fatalf("name %d is %q, want %q", i, got, name)
		}
	}
	if most := 2 * len(strings.Join(want, "")) / nameBlock; len(kept.blocks) > most {
		t.Errorf("%d blocks, want at most %d", len(kept.blocks), most)
	}
}

func TestCopyNames(t *testing.T) {
	shared := []string{"a", "", "bc", "a"}
	copies := CopyNames(shared)
	if !slices.Equal(copies, shared) || cap(copies) != len(shared) {
		t.Errorf("%q, want %q", copies, shared)
	}
	if unsafe.StringData(copies[2]) == unsafe.StringData(shared[2]) {
		t.Error("the copies share memory with the names")
	}
	if got := CopyNames(nil); got == nil || len(got) != 0 {
		t.Errorf("copies of no names: %#v", got)
	}
}
