package kubernetes

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"spillway/testdata/daemon"
)

// TestProbesOfTheProgram: the program runs with the settings of the pod, and answers its probes
// as they need it, before and after SIGTERM. There is no store: no probe asks it.
func TestProbesOfTheProgram(t *testing.T) {
	o := render(t, "example")
	c := o.container(t)
	folder := t.TempDir()
	tokens := filepath.Join(folder, "tokens.json")
	if err := os.WriteFile(tokens, []byte(`{"tokens": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_ENDPOINT_URL=http://127.0.0.1:1"}
	for name, value := range o.settings.Data {
		env = append(env, name+"="+value)
	}
	t.Chdir("../../..") // of the program's module
	binary, err := daemon.Build(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	// The flags are what differs from a pod.
	d, err := daemon.Start(t.Context(), binary, env, "--listen=127.0.0.1:0", "--log-format=json", "--tokens-file="+tokens, "--spill-dir="+folder, "--spill-min-free=0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	ask := func(p *corev1.Probe) int {
		base := map[string]string{"api": d.API, "admin": d.Admin}[p.HTTPGet.Port.StrVal]
		return get(t, base+p.HTTPGet.Path)
	}
	for name, p := range map[string]*corev1.Probe{"readiness": c.ReadinessProbe, "liveness": c.LivenessProbe, "startup": c.StartupProbe} {
		if status := ask(p); status != http.StatusOK {
			t.Errorf("the %s probe got %d", name, status)
		}
	}
	if status := get(t, d.Admin+o.monitor.Spec.PodMetricsEndpoints[0].Path); status != http.StatusOK {
		t.Errorf("Prometheus got %d", status)
	}
	if err := d.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := d.AwaitLog(t.Context(), "shutting down"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ask(c.ReadinessProbe) != http.StatusServiceUnavailable; {
		if time.Now().After(end) {
			t.Fatal("it is ready though it drains")
		}
	}
	if status := ask(c.LivenessProbe); status != http.StatusOK {
		t.Errorf("the liveness probe got %d while it drains", status)
	}
}

// get returns the status of an answer.
func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}
