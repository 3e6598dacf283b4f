package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"spillway/testdata/daemon"
)

// service is a running Spillway, and the folder that it may spill to.
type service struct {
	*daemon.Daemon
	folder string
}

// serve runs Spillway while use uses it. It is an error if Spillway has anything to warn of:
// then it did not do what is to be measured.
func (b *bench) serve(ctx context.Context, endpoint, bucket, memory string, use func(*service) error, more ...string) (err error) {
	folder, err := os.MkdirTemp(b.folder, "spill-")
	if err != nil {
		return err
	}
	d, err := daemon.Start(ctx, b.binary, []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=testsecret"}, append(more,
		"--dev", "--log-format=json", "--listen=127.0.0.1:0", "--s3-endpoint="+endpoint, "--s3-bucket="+bucket,
		"--memory="+memory, "--spill-dir="+folder, "--max-upload-size=8GiB", "--upload-timeout=1h", "--room-wait=30m", "--sweep-age=24h")...)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, d.Close())
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, d.Log())
		}
	}()
	s := &service{d, folder}
	if err := s.healthy(ctx); err != nil {
		return err
	}
	if err := use(s); err != nil {
		return err
	}
	return warnings(d.Log())
}

// healthy returns an error unless the store takes all that uploads bring, with the best
// checksum.
func (s *service) healthy(ctx context.Context) error {
	report, err := daemon.Get(ctx, s.API+"/__heartbeat__")
	if err != nil {
		return err
	}
	for _, want := range []string{`"status":"ok"`, "the CRC-32 of each object"} {
		if !strings.Contains(string(report), want) {
			return fmt.Errorf("the heartbeat does not say %s: %s", want, report)
		}
	}
	return nil
}

// warnings returns an error with the lines of a log that are more than information. Of them,
// --download-any is meant.
func warnings(log string) error {
	var all []string
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"level":"info"`) && !strings.Contains(line, `"level":"debug"`) && !strings.Contains(line, `"--download-any is for development`) {
			all = append(all, line)
		}
	}
	if all == nil {
		return nil
	}
	return fmt.Errorf("the log has %d lines that are more than information, the first: %s", len(all), all[0])
}

// What is looked for in the metrics.
const (
	sentName    = "spillway_s3_sent_bytes_total"
	fetchedName = "spillway_download_bytes_total"
	askedName   = "spillway_download_requests_total"
)

var (
	requestName = regexp.MustCompile(`^spillway_s3_requests_total\{operation="(\w+)"`)
	spentName   = regexp.MustCompile(`^spillway_upload_time_seconds_total\{on="(\w+)"`)
)

// notUploads are operations of the janitor and of the probe.
var notUploads = []string{"ListMultipartUploads", "DeleteObject", "GetObject"}

// measure uploads an archive so many times at once, and adds what that cost to the results.
func (b *bench) measure(ctx context.Context, s *service, w work, what string, count int) error {
	return b.measureSending(ctx, s, w, what, count, func() (float64, error) { return w.send(ctx, s.API, count) })
}

// measureSending is measure for uploads that send makes. It returns what [work.send] does.
func (b *bench) measureSending(ctx context.Context, s *service, w work, what string, count int, send func() (float64, error)) error {
	say("%s: %s, %d at once", w.Name, what, count)
	r := b.result(w, what)
	r.AtOnce = count
	earlier, err := s.Metrics(ctx)
	if err != nil {
		return err
	}
	if err := daemon.ForgetPeak(s.PID()); err != nil {
		return err
	}
	before, err := daemon.UsageOf(s.PID())
	if err != nil {
		return err
	}
	disk := watchDisk(s.folder)
	begun := time.Now()
	r.Answer, err = send()
	r.Wall = time.Since(begun).Seconds()
	r.Disk = disk.stop()
	if err != nil {
		return err
	}
	after, err := daemon.UsageOf(s.PID())
	if err != nil {
		return err
	}
	r.CPU, r.Peak, r.Written = (after.CPU - before.CPU).Seconds(), after.Peak, after.Written-before.Written
	now, err := s.Metrics(ctx)
	if err != nil {
		return err
	}
	r.compare(earlier, now)
	b.results = append(b.results, r)
	return nil
}

// compare takes from the metrics what the uploads have added to them.
func (r *result) compare(earlier, now map[string]float64) {
	r.Requests, r.Spent = map[string]int64{}, map[string]float64{}
	for name, value := range now {
		if value -= earlier[name]; value <= 0 {
			continue
		}
		if operation := requestName.FindStringSubmatch(name); operation != nil && !slices.Contains(notUploads, operation[1]) {
			r.Requests[operation[1]] += int64(value)
		}
		if on := spentName.FindStringSubmatch(name); on != nil {
			r.Spent[on[1]] = value
		}
	}
	r.Sent = int64(now[sentName] - earlier[sentName])
	r.Fetched = int64(now[fetchedName] - earlier[fetchedName])
	r.Asked = int64(now[askedName] - earlier[askedName])
}
