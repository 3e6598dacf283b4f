package upload

import (
	"testing"
	"time"
)

// TestTimeIsAccounted makes one thing slow at a time and checks where the time is
// accounted. In fake time, work takes none.
func TestTimeIsAccounted(t *testing.T) {
	f := symbolForm()
	for name, test := range map[string]struct {
		slow func(s *site, c *client)
		want map[string]float64 // seconds
	}{
		"client": {
			func(_ *site, c *client) {
				c.send(request(len(f), asDev), string(f[:1000]))
				time.Sleep(7 * time.Second)
				c.send(string(f[1000:]))
			},
			map[string]float64{"duration": 7, "waited_client": 7},
		},
		"storage": {
			func(s *site, c *client) {
				s.store.onPublish = func() error { time.Sleep(5 * time.Second); return nil }
				c.send(request(len(f), asDev), string(f[:1000]))
				time.Sleep(2 * time.Second)
				c.send(string(f[1000:]))
			},
			map[string]float64{"duration": 7, "waited_client": 2, "waited_s3": 5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *site, connect func() *client) {
				c := connect()
				test.slow(s, c)
				if r := c.reply(); r.StatusCode != 201 {
					t.Fatalf("status %d: %s", r.StatusCode, r.body)
				}
				e := s.event()
				var sum float64
				for _, field := range []string{"duration", "waited_client", "waited_memory", "waited_s3", "waited_disk", "waited_remote", "worked"} {
					spent, ok := e[field].(float64)
					if d, is := e[field].(time.Duration); is {
						spent, ok = d.Seconds(), true
					}
					if !ok || spent != test.want[field] {
						t.Errorf("%s is %v, want %v s", field, e[field], test.want[field])
					}
					if field != "duration" {
						sum += spent
					}
				}
				if sum != test.want["duration"] {
					t.Errorf("it adds up to %v s", sum)
				}
				c.leave()
			})
		})
	}
}
