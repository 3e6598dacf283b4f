package s3sink

import (
	"errors"
	"fmt"

	"spillway/stream"
)

// permissions are what the operations need.
var permissions = map[string]string{
	"HeadObject":            "s3:GetObject, and s3:ListBucket, without which S3 says 403 of an object that is not there",
	"GetObject":             "s3:GetObject, and s3:ListBucket, without which S3 says 403 of an object that is not there",
	"PutObject":             "s3:PutObject",
	"CreateMultipartUpload": "s3:PutObject",
	"UploadPart":            "s3:PutObject",
	"AbortMultipartUpload":  "s3:AbortMultipartUpload",
}

// What to do about a failure.
const (
	fixBucket      = "Check --s3-bucket and --s3-try-bucket: S3 has no such bucket."
	fixCredentials = "Check the credentials: S3 does not accept them."
	fixRegion      = "Check --s3-region: the bucket is in another region."
	fixLoad        = "S3 is overloaded or down, or wants fewer requests: see how the store is doing. If it goes on, lower --s3-concurrency."
	fixStore       = "The store has failed: see how it is doing. Nothing has to be done here."
	fixFull        = "The store is full, or its quota is used up: make room there."
)

// remedies are what to do, by error code.
var remedies = map[string]string{
	"NoSuchBucket": fixBucket, "InvalidBucketName": fixBucket,

	"InvalidAccessKeyId": fixCredentials, "SignatureDoesNotMatch": fixCredentials, "ExpiredToken": fixCredentials, "InvalidToken": fixCredentials,
	"BadRequest": fixCredentials + " (A HEAD says no more than 400; another region may be meant as well.)",

	"PermanentRedirect": fixRegion, "MovedPermanently": fixRegion, "AuthorizationHeaderMalformed": fixRegion, "TemporaryRedirect": fixRegion,

	"RequestTimeTooSkewed": "Set the clock of this machine: it differs too much from S3's.",

	"SlowDown": fixLoad, "ServiceUnavailable": fixLoad, "TooManyRequests": fixLoad, "HTTP 503": fixLoad, "HTTP 429": fixLoad,

	"InternalError": fixStore, "InternalServerError": fixStore, "BadGateway": fixStore, "GatewayTimeout": fixStore,
	"HTTP 500": fixStore, "HTTP 502": fixStore, "HTTP 504": fixStore,

	"QuotaExceeded": fixFull, "InsufficientStorage": fixFull, "InsufficientCapacity": fixFull, "XMinioStorageFull": fixFull, "HTTP 507": fixFull,

	codeTimeout: "The store or the network to it is too slow, or hangs. A part of 8 MiB needs some 120 KB/s on each connection.",

	codeUnreachable:   "Check --s3-endpoint, the name service, the network and that the store runs.",
	codeLost:          "The store or something before it closes connections: see how they are doing.",
	codeNoCredentials: "Check where the credentials come from: environment, profile or the machine's role.",
	codeOutOfTime:     "The store answers too slowly for the entries of an upload: see how it is doing. What was published stays, and a retry skips it.",
	codeDiffers:       "The store, or a proxy before it, changes the body or the metadata of objects. Files may be damaged, or never be skipped.",
}

// Explain says in one line, for those who run the service, what failed at the
// store, with S3's own error code, and what to do. There is no secret in it.
func Explain(err error) string {
	failed, ok := errors.AsType[*stream.StoreError](err)
	if !ok {
		return "The store cannot be used. The log says why."
	}
	remedy, known := remedies[failed.Code]
	needs, known403 := permissions[failed.Op]
	switch {
	case known:
	case (failed.Code == "AccessDenied" || failed.Code == "Forbidden") && known403:
		remedy = "The credentials lack a permission: this needs " + needs + "."
	default:
		remedy = "The log has the store's words."
	}
	return fmt.Sprintf("%s of %s failed: %s. %s", failed.Op, failed.Key, failed.Code, remedy)
}
