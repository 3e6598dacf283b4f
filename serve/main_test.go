package serve

import (
	"bytes"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"spillway/testdata/s3server"
)

// TestMain gives the services of all tests the credentials of their S3 servers. When the
// tests are done, no goroutine of a service may be left.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": s3server.AccessKey, "AWS_SECRET_ACCESS_KEY": s3server.SecretKey} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	status := m.Run()
	if left := goroutinesLeft(); status == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", left)
		status = 1
	}
	os.Exit(status)
}

// goroutinesLeft returns the stacks of the goroutines that work for uploads. It waits for
// those that are about to end.
func goroutinesLeft() (stacks string) {
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if stacks = goroutinesOfUploads(); stacks == "" {
			return ""
		}
	}
	return stacks
}

func goroutinesOfUploads() string {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		panic(err)
	}
	var stacks []string
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		for _, room := range []string{"spillway/upload.", "spillway/stream", "spillway/s3sink."} {
			if strings.Contains(stack, room) {
				stacks = append(stacks, stack)
				break
			}
		}
	}
	return strings.Join(stacks, "\n\n")
}
