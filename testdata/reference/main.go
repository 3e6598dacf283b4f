// Command reference writes the tables of docs/configuration.md from the flags of the program,
// and that of docs/metrics.md from the metrics of a running one. A test fails while the
// documents have other tables.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"spillway/testdata/client"
	"spillway/testdata/daemon"
	"spillway/testdata/harness"
)

// target is the make target that runs this.
const target = "docs"

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	err := errors.Join(
		harness.Update("docs/configuration.md", target, func(string) (string, error) { return configuration() }),
		harness.Update("docs/metrics.md", target, func(string) (string, error) { return metrics(ctx) }),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// metrics runs the program, and returns the table of its metrics.
func metrics(ctx context.Context) (table string, err error) {
	folder, err := os.MkdirTemp("", "spillway-reference-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	binary, err := daemon.Build(ctx, folder)
	if err != nil {
		return "", err
	}
	d, err := daemon.Start(ctx, binary, nil, "--dev", "--log-format=json", "--listen=127.0.0.1:0", "--dev-s3-listen=127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	// Some metrics exist only once something has happened: the store has been probed, an
	// upload has been stored.
	if _, err := daemon.Get(ctx, d.API+"/__heartbeat__"); err != nil {
		return "", err
	}
	sample, err := daemon.Get(ctx, d.API+"/sample.zip")
	if err != nil {
		return "", err
	}
	a, err := client.SendWhole(ctx, d.API, "dev", sample)
	if err != nil {
		return "", err
	}
	if a.Status != http.StatusCreated {
		return "", fmt.Errorf("the sample is answered with %d: %s", a.Status, a.Error)
	}
	text, err := daemon.Get(ctx, d.Admin+"/metrics")
	if err != nil {
		return "", err
	}
	return metricsTable(string(text)), nil
}
