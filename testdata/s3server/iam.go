package s3server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// IAM is a server with users, each of whom may do what a policy allows. The credentials of
// its Client are those of root, who may do everything.
type IAM struct {
	*Server
}

// StartIAM starts versitygw with its IAM service. Both end with the test.
func StartIAM(t testing.TB) IAM {
	t.Helper()
	return IAM{versitygwIAM.Start(t)}
}

// User makes a user with a policy, in the form of AWS's IAM. It returns the user's keys.
func (s IAM) User(t testing.TB, name, policy string) (accessKey, secretKey string) {
	t.Helper()
	var created struct {
		AccessKeyID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		SecretAccessKey string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	s.call(t, url.Values{"Action": {"CreateUser"}, "UserName": {name}})
	if policy != "" {
		s.call(t, url.Values{"Action": {"PutUserPolicy"}, "UserName": {name}, "PolicyName": {"test"}, "PolicyDocument": {policy}})
	}
	answer := s.call(t, url.Values{"Action": {"CreateAccessKey"}, "UserName": {name}})
	if err := xml.Unmarshal(answer, &created); err != nil {
		t.Fatal(err)
	}
	return created.AccessKeyID, created.SecretAccessKey
}

// call sends a request to the IAM service and returns the answer.
func (s IAM) call(t testing.TB, query url.Values) []byte {
	t.Helper()
	query.Set("Version", "2010-05-08")
	return s.post(t, "http://127.0.0.1:"+s.ports[1], "iam", query)
}

// Session returns credentials that may do what a policy allows, as environment variables.
// Only MinIO gives root such credentials.
func (c Client) Session(t testing.TB, policy string) []string {
	t.Helper()
	answer := c.post(t, c.Endpoint, "sts", url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "DurationSeconds": {"3600"}, "Policy": {policy}})
	var given struct {
		AccessKeyID     string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		SecretAccessKey string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		SessionToken    string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	}
	if err := xml.Unmarshal(answer, &given); err != nil {
		t.Fatal(err)
	}
	return []string{"AWS_ACCESS_KEY_ID=" + given.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + given.SecretAccessKey, "AWS_SESSION_TOKEN=" + given.SessionToken}
}

// post sends a request of one of AWS's query APIs and returns the answer.
func (c Client) post(t testing.TB, endpoint, service string, query url.Values) []byte {
	t.Helper()
	body := query.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	hash := sha256.Sum256([]byte(body))
	keys := aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.SecretKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, req, hex.EncodeToString(hash[:]), service, Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s: %v", query.Get("Action"), resp.Status, answer, err)
	}
	return answer
}

// SetPolicy gives a bucket a policy.
func (c Client) SetPolicy(ctx context.Context, bucket, policy string) error {
	_, err := c.api.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy})
	return err
}
