package s3sink

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyauth "github.com/aws/smithy-go/auth"
)

// TestEndpointsAreThoseOfTheRules compares the endpoints that are kept with those that the
// SDK's rules give, for two buckets in turn.
func TestEndpointsAreThoseOfTheRules(t *testing.T) {
	rules := s3.NewDefaultEndpointResolverV2()
	for name, in := range map[string]s3.EndpointParameters{
		"AWS":         {Region: aws.String("eu-west-1")},
		"path style":  {Region: aws.String("us-east-1"), Endpoint: aws.String("http://127.0.0.1:9000"), ForcePathStyle: aws.Bool(true)},
		"own host":    {Region: aws.String("auto"), Endpoint: aws.String("https://storage.example.com")},
		"wrong input": {Endpoint: aws.String("://")},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &endpoints{rules: rules}
			for range 2 {
				for _, bucket := range []string{"symbols", "try-symbols"} {
					in.Bucket = &bucket
					got, err := kept.ResolveEndpoint(t.Context(), in)
					want, wantErr := rules.ResolveEndpoint(t.Context(), in)
					if (err == nil) != (wantErr == nil) {
						t.Fatalf("error %v, want %v", err, wantErr)
					}
					if got.URI != want.URI {
						t.Errorf("%s is at %v, want %v", bucket, got.URI, want.URI)
					}
					options, _ := smithyauth.GetAuthOptions(&got.Properties)
					wanted, _ := smithyauth.GetAuthOptions(&want.Properties)
					if len(options) != len(wanted) {
						t.Fatalf("%d ways to sign, want %d", len(options), len(wanted))
					}
					for i, o := range options {
						if o.SchemeID != wanted[i].SchemeID {
							t.Errorf("signed by %s, want %s", o.SchemeID, wanted[i].SchemeID)
						}
						o.SignerProperties.Set("written by one request", true)
					}
					again, _ := kept.ResolveEndpoint(t.Context(), in)
					options, _ = smithyauth.GetAuthOptions(&again.Properties)
					for _, o := range options {
						if o.SignerProperties.Has("written by one request") {
							t.Error("requests share the properties of the signer")
						}
					}
				}
			}
		})
	}
}
