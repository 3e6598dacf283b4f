package s3sink

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// loadSDK loads the settings of the AWS SDK from the environment and from its shared
// configuration files.
func loadSDK(ctx context.Context, cfg Config) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithLogger(sdkLog(cfg.OnSDKLog)),
		config.WithLogConfigurationWarnings(true),
		config.WithDefaultRegion(cfg.DefaultRegion),
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	if err := checkBundle(); err != nil {
		return aws.Config{}, err
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	noProfile, isProfile := errors.AsType[config.SharedConfigProfileNotExistError](err)
	switch {
	case isProfile:
		return loaded, fmt.Errorf("s3: AWS_PROFILE: no shared configuration file of the AWS SDK has the profile %q", noProfile.Profile)
	case err != nil:
		return loaded, fmt.Errorf("s3: the settings of the AWS SDK: %w", err)
	case loaded.Region == "":
		return loaded, errors.New("s3: no region: set --s3-region, or AWS_REGION")
	case loaded.RetryMaxAttempts < 0:
		return loaded, fmt.Errorf("s3: AWS_MAX_ATTEMPTS: %d is less than 1", loaded.RetryMaxAttempts)
	}
	return loaded, nil
}

// checkBundle checks the file of AWS_CA_BUNDLE. The SDK's errors do not name the variable.
func checkBundle() error {
	env, err := config.NewEnvConfig()
	if err != nil || env.CustomCABundle == "" {
		return nil //nolint:nilerr // the SDK returns this error again
	}
	text, err := os.ReadFile(env.CustomCABundle)
	if err != nil {
		return fmt.Errorf("s3: AWS_CA_BUNDLE: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return fmt.Errorf("s3: AWS_CA_BUNDLE: %s contains no certificate in PEM", env.CustomCABundle)
	}
	return nil
}

// trustedRoots returns the certificate authorities of AWS_CA_BUNDLE; nil: the system's.
func trustedRoots(loaded aws.Config) *x509.CertPool {
	client, ok := loaded.HTTPClient.(*awshttp.BuildableClient)
	if !ok || client.GetTransport().TLSClientConfig == nil {
		return nil
	}
	return client.GetTransport().TLSClientConfig.RootCAs
}

// sdkLog passes the SDK's messages to log. The SDK itself would write them to standard
// error, and block if nobody reads that.
func sdkLog(log func(debug bool, message string)) logging.Logger {
	if log == nil {
		return logging.Nop{}
	}
	return logging.LoggerFunc(func(classification logging.Classification, format string, v ...any) {
		log(classification == logging.Debug, fmt.Sprintf(format, v...))
	})
}

// ofSharedConfig is where a setting may come from besides its variable.
const ofSharedConfig = "(or the shared configuration file of the AWS SDK)"

// endpointOf returns the URL that requests for a bucket go to. It sends nothing. The error
// says which settings cannot be used together.
func endpointOf(ctx context.Context, api *s3.Client, bucket string) (*url.URL, error) {
	o := api.Options()
	if o.BaseEndpoint != nil {
		// No message shows the URL: it may contain a password.
		u, err := url.Parse(*o.BaseEndpoint)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return nil, fmt.Errorf("s3: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL %s: it is not a URL such as https://s3.example.com", ofSharedConfig)
		case u.User != nil:
			return nil, fmt.Errorf("s3: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL %s: it contains a user or password", ofSharedConfig)
		case o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled:
			return nil, fmt.Errorf("s3: AWS_USE_FIPS_ENDPOINT %s: only AWS itself has such endpoints, but --s3-endpoint or AWS_ENDPOINT_URL is set: unset one", ofSharedConfig)
		case o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled:
			return nil, fmt.Errorf("s3: AWS_USE_DUALSTACK_ENDPOINT %s: only AWS itself has such endpoints, but --s3-endpoint or AWS_ENDPOINT_URL is set: unset one", ofSharedConfig)
		}
	}
	dry := &dryRun{}
	_, err := api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}, func(o *s3.Options) {
		o.HTTPClient = dry
		o.Retryer = aws.NopRetryer{}
		o.Credentials = credentials.NewStaticCredentialsProvider("none", "none", "")
		o.DisableS3ExpressSessionAuth = aws.Bool(true) // it asks S3 for a session
		o.EndpointResolverV2 = s3.NewDefaultEndpointResolverV2()
		o.APIOptions = nil
	})
	if dry.url == nil {
		return nil, fmt.Errorf("s3: --s3-bucket, --s3-region and the settings of the AWS SDK do not fit together: %w", err)
	}
	return dry.url, nil
}

var errNotSent = errors.New("s3: not sent")

// dryRun is an HTTP client that sends nothing.
type dryRun struct {
	url *url.URL // of the request
}

func (d *dryRun) Do(req *http.Request) (*http.Response, error) {
	d.url = req.URL
	return nil, errNotSent
}
