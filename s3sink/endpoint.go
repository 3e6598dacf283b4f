package s3sink

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
)

// endpoints resolves the endpoint of each bucket once. The SDK evaluates its rules twice for
// each request, which costs as much as signing it. For the operations of this package,
// nothing but the bucket makes a difference.
type endpoints struct {
	rules s3.EndpointResolverV2
	known sync.Map // of smithyendpoints.Endpoint, by the name of the bucket
}

// ResolveEndpoint implements [s3.EndpointResolverV2].
func (e *endpoints) ResolveEndpoint(ctx context.Context, in s3.EndpointParameters) (smithyendpoints.Endpoint, error) {
	if in.Bucket == nil {
		return e.rules.ResolveEndpoint(ctx, in)
	}
	if known, ok := e.known.Load(*in.Bucket); ok {
		return ownProperties(known.(smithyendpoints.Endpoint)), nil
	}
	found, err := e.rules.ResolveEndpoint(ctx, in)
	if err == nil {
		e.known.Store(*in.Bucket, ownProperties(found))
	}
	return found, err
}

// ownProperties returns e with properties of its own. The SDK writes to them.
func ownProperties(e smithyendpoints.Endpoint) smithyendpoints.Endpoint {
	shared := e.Properties
	e.Properties = smithy.Properties{}
	e.Properties.SetAll(&shared)
	options, _ := smithyauth.GetAuthOptions(&shared)
	own := make([]*smithyauth.Option, len(options))
	for i, o := range options {
		own[i] = &smithyauth.Option{SchemeID: o.SchemeID}
		own[i].IdentityProperties.SetAll(&o.IdentityProperties)
		own[i].SignerProperties.SetAll(&o.SignerProperties)
	}
	smithyauth.SetAuthOptions(&e.Properties, own)
	return e
}
