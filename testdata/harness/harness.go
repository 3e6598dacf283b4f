// Package harness is what the programs have in common that measure or try Spillway from
// outside, such as those of make bench and make stores.
package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

// Main runs a program of that name with what parse makes of this process's arguments. Its
// context ends with an interrupt, or one of the other signals. If parse or run fails, Main
// prints the error and exits with status 1, unless the error is [flag.ErrHelp].
func Main[O any](name string, parse func(args []string) (O, error), run func(ctx context.Context, o O) error, signals ...os.Signal) {
	ctx, stop := signal.NotifyContext(context.Background(), append(signals, os.Interrupt)...)
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}
