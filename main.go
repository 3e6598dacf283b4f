// Command spillway receives debug-symbol archives over HTTP and stores their files
// in S3.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"spillway/health"
	"spillway/internal/terminal"
	"spillway/serve"
	"spillway/settings"
	"spillway/tokens"
	"spillway/upload"
)

// Exit statuses.
const (
	exitDone       = 0 // also after a signal, if every upload under way finished
	exitFailed     = 1 // also if a check has failed
	exitUsage      = 2 // a bad setting
	exitUnfinished = 3 // ended uploads that took longer than --drain-timeout
	exitCutShort   = 4 // ended by a second signal
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run runs the program until it is done, or ctx or a signal ends it. It returns the
// exit status. args is without the program name.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, command, err := settings.Parse(args, getenv, stdout)
	switch {
	case errors.Is(err, settings.ErrHelp):
		return exitDone
	case err != nil:
		return usageError(stderr, err)
	}
	switch command {
	case "serve":
		if err := s.Serve.Complete(); err != nil {
			return usageError(stderr, err)
		}
		ignoreBrokenPipes()
		err = serve.Run(ctx, &s.Serve, getenv, stdout, stderr)
	case "check":
		if err := s.Check.Complete(); err != nil {
			return usageError(stderr, err)
		}
		err = serve.RunCheck(ctx, &s.Check.Serve, s.Check.JSON, getenv, stdout)
	case "token create":
		c := s.Token.Create
		err = tokens.RunCreate(s.Token.TokensFile, c.Email, c.Permission, c.ExpiresIn, c.Note, stdout, stderr)
	case "token list":
		err = tokens.RunList(s.Token.TokensFile, s.Token.List.JSON, stdout, stderr)
	case "token revoke <digest>":
		err = tokens.RunRevoke(s.Token.TokensFile, s.Token.Revoke.Digest, stdout, stderr)
	case "healthcheck":
		err = health.Ask(ctx, s.Healthcheck.Listen, s.Healthcheck.TLSCert != "")
	case "receipts":
		if err := s.Receipts.Complete(); err != nil {
			return usageError(stderr, err)
		}
		err = serve.PrintReceipts(ctx, &s.Receipts, stdout, stderr)
	case "version":
		_, err = fmt.Fprintln(stdout, serve.Version())
	}
	if err != nil {
		printError(stderr, err)
	}
	return exitStatus(err)
}

// exitStatus returns the exit status of a program that ends with err.
func exitStatus(err error) int {
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

// printError prints err as one line.
func printError(stderr io.Writer, err error) { terminal.WriteLine(stderr, "spillway: "+err.Error()) }

func usageError(stderr io.Writer, err error) int {
	printError(stderr, err)
	return exitUsage
}

// ignoreBrokenPipes makes writes to a closed standard output or error fail instead of
// ending the process (os/signal, "SIGPIPE"). It catches the signal instead of ignoring
// it: programs that the AWS SDK runs for credentials would inherit an ignored signal.
func ignoreBrokenPipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
