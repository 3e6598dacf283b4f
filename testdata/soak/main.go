// Command soak has Spillway take mixed uploads for as long as it is told, before
// an S3 server that fails now and then, from clients of which some are slow and
// some go away. It fails if anything grows, is kept, or is stored wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"spillway/testdata/archive"
	"spillway/testdata/cgroup"
	"spillway/testdata/daemon"
	"spillway/testdata/harness"
	"spillway/testdata/s3fault"
	"spillway/testdata/s3server"
)

// options are what the flags say.
type options struct {
	length  time.Duration
	clients int
	memory  int64          // MiB
	limit   int64          // MiB of the process's control group beyond memory; 0: it has none
	shapes  map[string]int // weights
	cache   string
	seed    uint64
	samples string // a file
}

func main() { harness.Main("soak", parse, run) }

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.DurationVar(&o.length, "for", time.Minute, "how long clients send")
	flags.IntVar(&o.clients, "clients", 12, "how many of them at once")
	flags.Int64Var(&o.memory, "memory", 64, "Spillway's --memory, in MiB")
	flags.Int64Var(&o.limit, "cgroup", 0, "put Spillway into a control group of so many MiB more than -memory; needs root")
	shapes := flags.String("archives", "small:20,many:1,100mb:1", "what they send, and how often of how many times: small, many, names, zstd, bzip2, stored, 100mb, firefox, 1gb, big")
	flags.StringVar(&o.cache, "cache", "", "folder for the archives; empty: one of the user's cache")
	flags.Uint64Var(&o.seed, "seed", 1, "of chance")
	flags.StringVar(&o.samples, "samples", "", "file for what was looked at each second, as CSV")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.shapes = map[string]int{}
	for part := range strings.SplitSeq(*shapes, ",") {
		name, weight, _ := strings.Cut(part, ":")
		if o.shapes[name], err = strconv.Atoi(weight); err != nil || o.shapes[name] < 1 {
			return o, fmt.Errorf("-archives: %q is no shape and weight such as small:30", part)
		}
	}
	if o.cache == "" {
		o.cache, err = archive.Cache()
	}
	return o, err
}

// soak is a run of the program.
type soak struct {
	options
	binary string
	server *s3server.Server
	bucket string
	proxy  *s3fault.Proxy
	front  *httptest.Server // of the proxy
	daemon *daemon.Daemon
	group  *cgroup.Group // of the daemon; nil if it has none
	watch  *watch
	load   *load
}

func run(ctx context.Context, o options) (err error) {
	s := &soak{options: o}
	shapes, err := loadShapes(ctx, o)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "spillway-soak-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	say("building spillway")
	if s.binary, err = daemon.Build(ctx, folder); err != nil {
		return err
	}
	if s.server, err = s3server.NewInMemory(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.server.Close()) }()
	if s.bucket, err = s.server.MakeBucket(ctx); err != nil {
		return err
	}
	if s.proxy, err = s3fault.NewProxy(s.server.Endpoint); err != nil {
		return err
	}
	s.front = httptest.NewServer(s.proxy)
	defer s.front.Close()
	s.load = newLoad(s, shapes)

	if err := s.start(ctx, folder, "--upload-timeout=15m"); err != nil {
		return err
	}
	if o.limit > 0 {
		if s.group, err = cgroup.New((o.memory + o.limit) << 20); err != nil {
			return errors.Join(err, s.daemon.Close())
		}
		defer func() { err = errors.Join(err, s.group.Close()) }()
		if err := s.group.Add(s.daemon.PID()); err != nil {
			return errors.Join(err, s.daemon.Close())
		}
	}
	defer func() { err = errors.Join(err, s.daemon.Close()) }()
	s.watch = &watch{daemon: s.daemon, memory: o.memory << 20, file: o.samples}
	if s.watch.before, err = s.watch.rest(ctx); err != nil {
		return err
	}
	if err := s.press(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(s.daemon.Log()))
	}
	return s.conclude(ctx, folder)
}

// start starts Spillway, which spills to the folder.
func (s *soak) start(ctx context.Context, folder string, args ...string) (err error) {
	s.daemon, err = daemon.Start(ctx, s.binary, []string{
		"AWS_ACCESS_KEY_ID=" + s.server.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.server.SecretKey, "GOMAXPROCS=2",
	}, append([]string{
		"--dev", "--log-format=json", "--listen=127.0.0.1:0", "--s3-endpoint=" + s.front.URL, "--s3-bucket=" + s.bucket,
		fmt.Sprintf("--memory=%dMiB", s.memory), "--spill-dir=" + folder, "--spill-quota=1GiB", "--spill-upload-quota=512MiB", "--max-upload-size=8GiB",
	}, args...)...)
	return err
}

// press has the clients send for as long as they should, while the process is
// watched, and waits until the last of them has its answer.
func (s *soak) press(ctx context.Context) error {
	chance := newFaults(s.seed)
	s.proxy.InjectSome(chance.choose)
	defer s.proxy.InjectSome(nil)
	watching, stop := context.WithTimeout(ctx, s.length)
	watched := make(chan error, 1)
	go func() { watched <- s.watch.run(watching) }()
	err := s.load.run(ctx)
	stop()
	return errors.Join(err, <-watched)
}

// conclude looks at what is left, and says how it was.
func (s *soak) conclude(ctx context.Context, folder string) error {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	kept, err := s.watch.idle(ctx)
	if err != nil {
		return err
	}
	for name, value := range kept {
		complain("%s is %v with nothing to do", name, value)
	}
	s.load.http.CloseIdleConnections()
	s.front.CloseClientConnections()
	if err := s.watch.end(ctx); err != nil {
		return err
	}
	endings, err := s.endings(ctx)
	if err != nil {
		return err
	}
	usage, err := daemon.UsageOf(s.daemon.PID())
	if err != nil {
		return err
	}
	s.watch.peak = usage.Peak
	unfinished, err := s.server.ListUploads(ctx, s.bucket)
	if err != nil {
		return err
	}
	status, err := s.end(ctx)
	if err != nil {
		return err
	}
	if status != 0 {
		complain("the exit status is %d", status)
	}
	left, err := s.sweep(ctx, folder)
	if err != nil {
		return err
	}
	if left > 0 {
		complain("%d multipart uploads are unfinished after a sweep", left)
	}
	visible, err := s.load.checkVisible(ctx)
	if err != nil {
		return err
	}
	wrong = append(wrong, s.load.wrong()...)
	wrong = append(wrong, s.watch.wrong()...)
	bounded, err := s.bounded(complain)
	if err != nil {
		return err
	}

	say("")
	s.load.print(os.Stdout)
	fmt.Printf("endings:   %s\n", strings.Join(endings, ", "))
	fmt.Printf("S3:        %d requests, of which %d were made to fail; %d objects visible at the end, all whole; %d uploads unfinished before a sweep, %d after\n",
		s.proxy.Requests(), s.proxy.Failed(), visible, len(unfinished), left)
	s.watch.print(os.Stdout)
	fmt.Printf("CPU:       %.0f s of the process, peak %d MiB resident, %d bytes written to a disk\n", usage.CPU.Seconds(), usage.Peak>>20, usage.Written)
	fmt.Print(bounded)
	if len(wrong) > 0 {
		return fmt.Errorf("%s\n%s", strings.Join(wrong, "\n"), tail(s.daemon.Log()))
	}
	fmt.Println("nothing grew, nothing was kept, and everything was stored right")
	return nil
}

// bounded says what the control group saw, if there is one.
func (s *soak) bounded(complain func(format string, args ...any)) (string, error) {
	if s.group == nil {
		return "", nil
	}
	killed, err := s.group.Killed()
	if err != nil {
		return "", err
	}
	if killed > 0 {
		complain("the system killed %d processes for want of memory", killed)
	}
	peak, err := s.group.Peak()
	return fmt.Sprintf("cgroup:    %d MiB at the most of %d, page cache included\n", peak>>20, s.memory+s.limit), err
}

// endings are how the program says that uploads ended.
func (s *soak) endings(ctx context.Context) (all []string, err error) {
	metrics, err := s.daemon.Metrics(ctx)
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if how, ok := strings.CutPrefix(name, "spillway_uploads_total"); ok && metrics[name] > 0 {
			all = append(all, fmt.Sprintf("%v %s", metrics[name], how))
		}
	}
	return all, err
}

// end has the program end as operators do, and returns its exit status.
func (s *soak) end(ctx context.Context) (int, error) {
	if err := s.daemon.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return s.daemon.Wait(ctx)
}

// sweep has an instance clean up what answers that were lost have left, and says
// how many unfinished uploads there still are.
func (s *soak) sweep(ctx context.Context, folder string) (left int, err error) {
	say("sweeping")
	time.Sleep(3 * time.Second) // until all are older than sweep-age
	log := s.daemon.Log()
	if err := s.start(ctx, folder, "--upload-timeout=1s", "--sweep-age=2s"); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, tail(log))
	}
	deadline := time.Now().Add(time.Minute)
	for {
		uploads, err := s.server.ListUploads(ctx, s.bucket)
		if err != nil {
			return 0, errors.Join(err, s.daemon.Close())
		}
		if len(uploads) == 0 || time.Now().After(deadline) {
			_, err := s.end(ctx)
			return len(uploads), err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// tail is the last lines of a log.
func tail(log string) string {
	const most = 4 << 10
	return log[max(0, len(log)-most):]
}

// say writes what is being done in the place of what was, if somebody sees it.
func say(format string, args ...any) {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
	}
}
