// Command spillway takes archives of debug symbols over HTTP and puts their
// files into S3.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"spillway/internal/terminal"
	"spillway/serve"
	"spillway/settings"
	"spillway/tokens"
	"spillway/upload"
)

// Exit statuses.
const (
	exitDone       = 0 // also after a signal, when every upload under way had ended by itself
	exitFailed     = 1
	exitUsage      = 2 // a bad setting
	exitUnfinished = 3 // uploads that took longer than --drain-timeout were ended
	exitCutShort   = 4 // a second signal came
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the program. It returns its exit status when ctx or a signal ends it.
// args has no program name.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, command, err := settings.Parse(args, getenv, stdout)
	switch {
	case errors.Is(err, settings.ErrHelp):
		return exitDone
	case err != nil:
		return usage(stderr, err)
	}
	switch command {
	case "serve":
		if err := s.Serve.Complete(); err != nil {
			return usage(stderr, err)
		}
		ignoreBrokenPipes()
		err = serve.Run(ctx, &s.Serve, getenv, stdout, stderr)
	case "token create":
		c := s.Token.Create
		err = tokens.RunCreate(s.Token.TokensFile, c.Email, c.Permission, c.ExpiresIn, c.Note, stdout, stderr)
	case "token list":
		err = tokens.RunList(s.Token.TokensFile, stdout)
	case "token revoke <digest>":
		err = tokens.RunRevoke(s.Token.TokensFile, s.Token.Revoke.Digest, stdout)
	case "version":
		_, err = fmt.Fprintln(stdout, serve.Version())
	}
	if err != nil {
		complain(stderr, err)
	}
	return statusOf(err)
}

// statusOf is the exit status of a program that ends with err.
func statusOf(err error) int {
	_, badSetting := errors.AsType[*settings.Error](err)
	_, unfinished := errors.AsType[*upload.UnfinishedError](err)
	switch {
	case err == nil:
		return exitDone
	case badSetting:
		return exitUsage
	case errors.Is(err, serve.ErrCutShort):
		return exitCutShort
	case unfinished:
		return exitUnfinished
	}
	return exitFailed
}

// complain writes err as one line.
func complain(stderr io.Writer, err error) { terminal.WriteLine(stderr, "spillway: "+err.Error()) }

func usage(stderr io.Writer, err error) int {
	complain(stderr, err)
	return exitUsage
}

// ignoreBrokenPipes has writes to a standard output or error that nobody reads
// any more fail, rather than end the process (os/signal, "SIGPIPE"). The signal is
// caught and not ignored, because the programs that the AWS SDK may run for
// credentials would inherit that.
func ignoreBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
