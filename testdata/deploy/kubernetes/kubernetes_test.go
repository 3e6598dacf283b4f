// Package kubernetes tests the manifests of deploy/kubernetes with Kubernetes' own code, and
// against what the program needs.
package kubernetes

import (
	"fmt"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install" // the types of apps/v1
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install" // the types of v1
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install" // the types of networking.k8s.io/v1
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install" // the types of policy/v1
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const manifests = "../../../deploy/kubernetes/"

// scheme has the types of Kubernetes, KEDA and the Prometheus operator.
var scheme = legacyscheme.Scheme

func init() {
	for _, add := range []func(*runtime.Scheme) error{keda.AddToScheme, monitoring.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
}

// objects are what a folder renders to.
type objects struct {
	deployment *appsv1.Deployment
	settings   *corev1.ConfigMap
	account    *corev1.ServiceAccount
	service    *corev1.Service
	network    *networkingv1.NetworkPolicy
	disruption *policyv1.PodDisruptionBudget
	monitor    *monitoring.PodMonitor
	scaled     *keda.ScaledObject
	all        []runtime.Object
}

// render renders a folder of deploy/kubernetes as kubectl does, and decodes the result. A
// field that its type does not have, or that is there twice, fails the test.
func render(t *testing.T, folder string) (o objects) {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), manifests+folder)
	if err != nil {
		t.Fatal(err)
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Strict: true, Yaml: true})
	for _, r := range rendered.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		decoded, _, err := strict.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", r.CurId(), err, text)
		}
		o.all = append(o.all, decoded)
		switch decoded := decoded.(type) {
		case *appsv1.Deployment:
			o.deployment = decoded
		case *corev1.ConfigMap:
			o.settings = decoded
		case *corev1.ServiceAccount:
			o.account = decoded
		case *corev1.Service:
			o.service = decoded
		case *networkingv1.NetworkPolicy:
			o.network = decoded
		case *policyv1.PodDisruptionBudget:
			o.disruption = decoded
		case *monitoring.PodMonitor:
			o.monitor = decoded
		case *keda.ScaledObject:
			o.scaled = decoded
		}
	}
	return o
}

// container returns the one container of the deployment.
func (o objects) container(t *testing.T) corev1.Container {
	t.Helper()
	all := o.deployment.Spec.Template.Spec.Containers
	if len(all) != 1 || len(o.deployment.Spec.Template.Spec.InitContainers) != 0 {
		t.Fatalf("the pod has the containers %v", all)
	}
	return all[0]
}

// TestManifestsAreValid: the API server would take every object, by its own rules.
func TestManifestsAreValid(t *testing.T) {
	o := render(t, "example")
	if len(o.all) != 9 {
		t.Errorf("there are %d objects", len(o.all))
	}
	for _, object := range o.all {
		if errs := validate(t, object); len(errs) > 0 {
			t.Errorf("%T: %v", object, errs)
		}
	}
}

// validate returns what the API server finds wrong with an object.
func validate(t *testing.T, object runtime.Object) field.ErrorList {
	t.Helper()
	scheme.Default(object)
	switch object.(type) {
	case *keda.ScaledObject, *monitoring.PodMonitor:
		return nil // their rules are in schemas that the cluster has
	}
	internal, err := scheme.UnsafeConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		t.Fatal(err)
	}
	switch o := internal.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o)
	case *core.Namespace:
		return corevalidation.ValidateNamespace(o)
	case *core.Service:
		return corevalidation.ValidateServiceCreate(o)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o)
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
	default:
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("no rules for %T", internal))}
	}
}
