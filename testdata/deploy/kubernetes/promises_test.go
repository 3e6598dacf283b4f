package kubernetes

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"spillway/settings"
)

const (
	// exit is how long the program takes to exit after its drain timeout, at most.
	exit = 10 * time.Second

	// overhead is what the process takes besides --memory, at most.
	overhead = 130 << 20
)

// serveSettings returns the settings that the pod has, with the program's own defaults.
func serveSettings(t *testing.T, o objects) settings.Serve {
	t.Helper()
	s, command, err := settings.Parse([]string{"serve"}, func(name string) string { return o.settings.Data[name] }, io.Discard)
	if err != nil || command != "serve" {
		t.Fatalf("command %q: %v", command, err)
	}
	if err := s.Serve.Complete(); err != nil {
		t.Fatal(err)
	}
	return s.Serve
}

// TestSettingsExist: each setting is one of the program's. Any other would be ignored.
func TestSettingsExist(t *testing.T) {
	commands, err := settings.Reference()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, g := range commands[0].Groups {
		for _, f := range g.Flags {
			known[f.Variable] = true
		}
	}
	o := render(t, "example")
	if len(o.settings.Data) < 10 {
		t.Errorf("only %d settings", len(o.settings.Data))
	}
	for name := range o.settings.Data {
		if !known[name] {
			t.Errorf("%s is no setting", name)
		}
	}
	if from := o.container(t).EnvFrom; len(from) != 1 || from[0].ConfigMapRef.Name != o.settings.Name {
		t.Errorf("the container has its settings from %v", from)
	}
	if links := o.deployment.Spec.Template.Spec.EnableServiceLinks; links == nil || *links {
		t.Error("the Service sets variables that begin with SPILLWAY_")
	}
}

// TestGracePeriod: the program has ended before its pod is killed, and the balancer has
// noticed before uploads are refused.
func TestGracePeriod(t *testing.T) {
	o := render(t, "example")
	s := serveSettings(t, o)
	grace := time.Duration(*o.deployment.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	if need := s.DrainDelay + s.DrainTimeout + exit; grace < need {
		t.Errorf("the grace period is %v, the exit takes up to %v", grace, need)
	}
	c := o.container(t)
	probe := c.ReadinessProbe
	notices := time.Duration(probe.PeriodSeconds*probe.FailureThreshold+probe.TimeoutSeconds) * time.Second
	if s.DrainDelay <= notices {
		t.Errorf("the drain delay is %v, and the readiness probe notices after up to %v", s.DrainDelay, notices)
	}
	if c.Lifecycle != nil {
		t.Error("a preStop hook takes time from the grace period")
	}
	if grace > 10*time.Minute {
		t.Errorf("the grace period is %v: the cluster autoscaler kills after 10m", grace)
	}
}

// TestLivenessIsPatient: a probe that fails is no reason for a restart, and the path does not
// depend on the state of the instance.
func TestLivenessIsPatient(t *testing.T) {
	c := render(t, "example").container(t)
	for name, probe := range map[string]*corev1.Probe{"liveness": c.LivenessProbe, "startup": c.StartupProbe} {
		if probe.HTTPGet.Port != intstr.FromString("admin") || probe.HTTPGet.Path != "/" {
			t.Errorf("the %s probe asks %s of %s", name, probe.HTTPGet.Path, probe.HTTPGet.Port.String())
		}
	}
	if p := c.LivenessProbe; p.PeriodSeconds*p.FailureThreshold < 180 || p.TimeoutSeconds < 10 {
		t.Errorf("it kills after %d s, and waits for %d s", p.PeriodSeconds*p.FailureThreshold, p.TimeoutSeconds)
	}
}

// TestMemoryAndDiskFit: the limits are above what the settings let the program take.
func TestMemoryAndDiskFit(t *testing.T) {
	o := render(t, "example")
	s := serveSettings(t, o)
	c := o.container(t)
	if limit := c.Resources.Limits.Memory().Value(); limit < int64(s.Memory)+overhead {
		t.Errorf("the memory limit is %d, and the process takes %d", limit, int64(s.Memory)+overhead)
	}
	if !c.Resources.Limits.Memory().Equal(*c.Resources.Requests.Memory()) {
		t.Error("the node may be short of the memory that the limit allows")
	}
	if _, limited := c.Resources.Limits[corev1.ResourceCPU]; limited {
		t.Error("the processors are limited")
	}
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" }) || o.settings.Data["GOMEMLIMIT"] != "" {
		t.Error("GOMEMLIMIT is set")
	}
	spill := volume(t, o, s.SpillDir).EmptyDir
	if spill == nil || spill.Medium != corev1.StorageMediumDefault {
		t.Fatalf("the spill folder is %v", spill)
	}
	if size := spill.SizeLimit.Value(); size <= int64(s.SpillQuota) {
		t.Errorf("the spill volume has %d bytes, and the quota is %d", size, s.SpillQuota)
	}
	if requested := c.Resources.Requests.StorageEphemeral().Value(); requested < int64(s.SpillQuota) {
		t.Errorf("the pod asks for %d bytes of disk, and the quota is %d", requested, s.SpillQuota)
	}
}

// volume returns the volume that a file or folder of the container is on.
func volume(t *testing.T, o objects, path string) corev1.Volume {
	t.Helper()
	for _, mount := range o.container(t).VolumeMounts {
		if (path == mount.MountPath || strings.HasPrefix(path, mount.MountPath+"/")) && mount.SubPath == "" {
			for _, v := range o.deployment.Spec.Template.Spec.Volumes {
				if v.Name == mount.Name {
					return v
				}
			}
		}
	}
	t.Fatalf("%s is on no volume", path)
	return corev1.Volume{}
}

// TestTokensComeFromASecret: the folder is mounted, so that an edit is seen, and only the pod
// may read it.
func TestTokensComeFromASecret(t *testing.T) {
	o := render(t, "example")
	secret := volume(t, o, serveSettings(t, o).TokensFile).Secret
	if secret == nil || secret.DefaultMode == nil || *secret.DefaultMode&0o007 != 0 {
		t.Fatalf("the tokens are on %v", secret)
	}
}

// TestPodIsRestricted: the pod meets Kubernetes' strictest standard, and its root file system
// is read-only.
func TestPodIsRestricted(t *testing.T) {
	o := render(t, "example")
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	template := o.deployment.Spec.Template
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec) {
		if !result.Allowed {
			t.Errorf("%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if readOnly := o.container(t).SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Error("the root file system is writable")
	}
	if template.Spec.AutomountServiceAccountToken == nil || *template.Spec.AutomountServiceAccountToken {
		t.Error("the pod has a token of Kubernetes' API")
	}
}

// TestSelectors: everything that selects pods selects those of the deployment.
func TestSelectors(t *testing.T) {
	o := render(t, "example")
	pod := labels.Set(o.deployment.Spec.Template.Labels)
	selectors := map[string]*metav1.LabelSelector{
		"Deployment": o.deployment.Spec.Selector, "PodDisruptionBudget": o.disruption.Spec.Selector,
		"NetworkPolicy": &o.network.Spec.PodSelector, "PodMonitor": &o.monitor.Spec.Selector,
		"Service": {MatchLabels: o.service.Spec.Selector},
	}
	for _, c := range o.deployment.Spec.Template.Spec.TopologySpreadConstraints {
		selectors[c.TopologyKey] = c.LabelSelector
	}
	for name, s := range selectors {
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil || selector.Empty() || !selector.Matches(pod) {
			t.Errorf("%s selects %v: %v", name, selector, err)
		}
	}
	if name := o.scaled.Spec.ScaleTargetRef.Name; name != o.deployment.Name {
		t.Errorf("KEDA scales %s", name)
	}
	if account := o.deployment.Spec.Template.Spec.ServiceAccountName; account != o.account.Name {
		t.Errorf("the pod's account is %s", account)
	}
}

// TestNetworkPolicy: each port of the pod has its own peers, and the admin listener is for
// Prometheus only.
func TestNetworkPolicy(t *testing.T) {
	o := render(t, "example")
	peers := map[string]int{}
	for _, rule := range o.network.Spec.Ingress {
		if len(rule.Ports) != 1 || len(rule.From) == 0 {
			t.Fatalf("a rule for everybody, or for every port: %+v", rule)
		}
		port := rule.Ports[0].Port.StrVal
		peers[port] += len(rule.From)
		if from := rule.From[0]; port == "admin" && (from.NamespaceSelector == nil || from.PodSelector == nil) {
			t.Errorf("the admin listener is open to %+v", from)
		}
	}
	if peers["api"] != 1 || peers["admin"] != 1 || len(peers) != 2 {
		t.Errorf("peers %v", peers)
	}
	if types := o.network.Spec.PolicyTypes; len(types) != 2 {
		t.Errorf("the policy is for %v", types)
	}
	for _, p := range o.container(t).Ports {
		if _, ok := peers[p.Name]; !ok {
			t.Errorf("nobody may reach %s", p.Name)
		}
	}
	if target := o.service.Spec.Ports[0].TargetPort.StrVal; target != "api" {
		t.Errorf("the Service sends uploads to %s", target)
	}
	if port := *o.monitor.Spec.PodMetricsEndpoints[0].Port; port != "admin" {
		t.Errorf("Prometheus scrapes %s", port)
	}
}

// TestAutoscaling: new pods come before uploads wait, at least two are there, and KEDA alone
// sets their number. The metric is one of Spillway's.
func TestAutoscaling(t *testing.T) {
	o := render(t, "example")
	s := serveSettings(t, o)
	if o.deployment.Spec.Replicas != nil {
		t.Error("each deployment resets the number of pods")
	}
	if least := *o.scaled.Spec.MinReplicaCount; least < 2 || int(*o.scaled.Spec.MaxReplicaCount) < 2*int(least) {
		t.Errorf("%d to %d pods", least, *o.scaled.Spec.MaxReplicaCount)
	}
	if *render(t, "base").deployment.Spec.Replicas < 2 {
		t.Error("a single pod, which a node's end takes away")
	}
	documented, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, trigger := range o.scaled.Spec.Triggers {
		if trigger.Type != "prometheus" {
			continue
		}
		threshold, err := strconv.Atoi(trigger.Metadata["threshold"])
		if err != nil || threshold >= s.MaxUploads {
			t.Errorf("a new pod after %d uploads, of %d that a pod takes: %v", threshold, s.MaxUploads, err)
		}
		metric := regexp.MustCompile(`spillway_\w+`).FindString(trigger.Metadata["query"])
		if metric == "" || !strings.Contains(string(documented), "`"+metric+"`") {
			t.Errorf("there is no metric %q", metric)
		}
		if !strings.Contains(trigger.Metadata["query"], `namespace="`+o.deployment.Namespace+`"`) {
			t.Errorf("the query is not for the namespace %s: %s", o.deployment.Namespace, trigger.Metadata["query"])
		}
	}
}
