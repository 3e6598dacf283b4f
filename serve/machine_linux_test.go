package serve

import (
	"strconv"
	"strings"
	"testing"

	"spillway/health"
)

func TestFilesCheck(t *testing.T) {
	for _, c := range []struct {
		open int
		want health.Level
	}{{0, health.OK}, {799, health.OK}, {800, health.Warning}, {949, health.Warning}, {950, health.Error}, {1000, health.Error}} {
		got := filesCheck(c.open, 1000)
		if got.Name != "files" || got.Level != c.want {
			t.Errorf("%d of 1000: %+v, want level %v", c.open, got, c.want)
		}
		if told := strings.Contains(got.Message, strconv.Itoa(c.open)+" of 1000"); told != (c.want != health.OK) {
			t.Errorf("%d of 1000: says %q", c.open, got.Message)
		}
	}
}
