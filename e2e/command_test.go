package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"spillway/testdata/client"
)

// Exit statuses of the program.
const (
	statusDone       = 0
	statusFailed     = 1
	statusUsage      = 2
	statusUnfinished = 3
	statusCutShort   = 4
)

// command runs the program until it exits, checks its exit status, and returns what it
// wrote.
func command(t *testing.T, wantStatus int, args ...string) (stdout, stderr string) {
	t.Helper()
	status, stdout, stderr := runProgram(client.Within(t), t, nil, args...)
	if status != wantStatus {
		t.Fatalf("spillway %v: exit status %d, want %d; %s", args, status, wantStatus, stderr)
	}
	return stdout, stderr
}

// runProgram is execute, whose error ends the test.
func runProgram(ctx context.Context, t *testing.T, variables []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	status, stdout, stderr, err := execute(ctx, variables, args...)
	if err != nil {
		t.Fatal(err)
	}
	return status, stdout, stderr
}

// execute runs the program until it exits, or kills it when ctx ends. The status of a killed
// program is -1. Of the environment variables that are settings, the program gets only those in
// variables, each "NAME=value".
func execute(ctx context.Context, variables []string, args ...string) (status int, stdout, stderr string, err error) {
	binary, err := checked()
	if err != nil {
		return 0, "", "", err
	}
	return finish(exec.CommandContext(ctx, binary, args...), variables)
}

// finish is execute for a command that becomes the program.
func finish(c *exec.Cmd, variables []string) (status int, stdout, stderr string, err error) {
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "SPILLWAY_") || strings.HasPrefix(v, "SENTRY_")
	})
	c.Env = append(c.Env, variables...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			return 0, "", "", err
		}
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String(), nil
}
