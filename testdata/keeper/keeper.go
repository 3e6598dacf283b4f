// Package keeper runs shell scripts that hold something for a test, such as a mounted
// file system, and that undo it when the test's process ends, however it ends.
//
// A script writes the line "ready" to its standard output once it holds what it is for.
// Then it waits for the end of its standard input, undoes what it did, and exits.
package keeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Keeper is a running script.
type Keeper struct {
	command *exec.Cmd
	stdin   io.Closer
	stderr  strings.Builder
}

// Start runs a script with arguments and returns once it is ready. The error says what
// the script wrote to its standard error. The caller closes the keeper.
func Start(script string, args ...string) (*Keeper, error) {
	k := &Keeper{command: exec.CommandContext(context.Background(), "/bin/sh", append([]string{"-c", script, "sh"}, args...)...)}
	k.command.Stderr = &k.stderr
	stdin, err := k.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	k.stdin = stdin
	stdout, err := k.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := k.command.Start(); err != nil {
		return nil, err
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		return nil, errors.Join(errors.New("the script did not get ready"), k.Close())
	}
	return k, nil
}

// Close ends the script's standard input and waits until the script has undone what it
// did.
func (k *Keeper) Close() error {
	if err := errors.Join(k.stdin.Close(), k.command.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(k.stderr.String()))
	}
	return nil
}
