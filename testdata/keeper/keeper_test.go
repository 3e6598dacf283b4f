package keeper_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spillway/testdata/keeper"
)

func TestScriptUndoesWhatItDid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "held")
	k, err := keeper.Start(`touch "$1"; echo ready; read -r _; rm "$1"`, file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("while it is held: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("after Close: error %v, want that the file is gone", err)
	}
}

func TestScriptThatFails(t *testing.T) {
	_, err := keeper.Start(`echo 'no rights' >&2; exit 1`)
	if err == nil || !strings.Contains(err.Error(), "no rights") {
		t.Errorf("error %v, want one that says what the script wrote", err)
	}
}
