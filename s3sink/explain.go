package s3sink

import (
	"errors"
	"fmt"

	"spillway/stream"
)

// permissions are the permissions that each operation needs.
var permissions = map[string]string{
	"HeadObject":            "s3:GetObject, and s3:ListBucket, without which S3 answers 403 for an object that does not exist",
	"GetObject":             "s3:GetObject, and s3:ListBucket, without which S3 answers 403 for an object that does not exist",
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
	fixLoad        = "S3 is overloaded or down, or wants fewer requests: check the store. If this continues, lower --s3-concurrency."
	fixStore       = "The store has failed: check the store. Nothing has to be done here."
	fixFull        = "The store is full, or its quota is used up: make room there."
)

// remedies say what to do, by error code.
var remedies = map[string]string{
	"NoSuchBucket": fixBucket, "InvalidBucketName": fixBucket,

	"InvalidAccessKeyId": fixCredentials, "SignatureDoesNotMatch": fixCredentials, "ExpiredToken": fixCredentials, "InvalidToken": fixCredentials,
	"BadRequest": fixCredentials + " (The answer to a HEAD has only the status 400. The region may be wrong instead.)",

	"PermanentRedirect": fixRegion, "MovedPermanently": fixRegion, "AuthorizationHeaderMalformed": fixRegion, "TemporaryRedirect": fixRegion,

	"RequestTimeTooSkewed": "Set the clock of this machine: it differs too much from S3's.",

	"SlowDown": fixLoad, "ServiceUnavailable": fixLoad, "TooManyRequests": fixLoad, "HTTP 503": fixLoad, "HTTP 429": fixLoad,

	"InternalError": fixStore, "InternalServerError": fixStore, "BadGateway": fixStore, "GatewayTimeout": fixStore,
	"HTTP 500": fixStore, "HTTP 502": fixStore, "HTTP 504": fixStore,

	"QuotaExceeded": fixFull, "InsufficientStorage": fixFull, "InsufficientCapacity": fixFull, "XMinioStorageFull": fixFull, "HTTP 507": fixFull,

	codeTimeout: "The store or the network to it is too slow, or hangs. A part of 8 MiB needs some 120 KB/s on each connection.",

	codeUnreachable:   "Check --s3-endpoint, DNS, the network, and that the store is running.",
	codeLost:          "The store, or a proxy in front of it, closes connections: check both.",
	codeNoCredentials: "Check where the credentials come from: the environment, a profile, or the machine's role.",
	codeOutOfTime:     "The store answers too slowly for the entries of an upload: check the store. What was published stays, and a retry skips it.",
	codeNotStored:     "The store loses objects that it says it has stored: check the store. A retry stores what is missing.",
	codeUnchecked:     "The store checks none of the checksums that Spillway can send, and its ETags are no MD5s. Damaged files would not be noticed, so nothing is stored.",
	codeDiffers:       "The store, or a proxy in front of it, changes the body or the metadata of objects. Files may be damaged, or never skipped.",
}

// Explain says in one line what failed at the store, with S3's error code, and what the
// operator can do. It contains no secret.
func Explain(err error) string {
	failed, ok := errors.AsType[*stream.StoreError](err)
	if !ok {
		return "The store cannot be used: see the log."
	}
	remedy, hasRemedy := remedies[failed.Code]
	needs, hasPermission := permissions[failed.Op]
	switch {
	case hasRemedy:
	case (failed.Code == "AccessDenied" || failed.Code == "Forbidden") && hasPermission:
		remedy = "The credentials lack a permission: this needs " + needs + "."
	default:
		remedy = "The log has the store's message."
	}
	return fmt.Sprintf("%s of %s failed: %s. %s", failed.Op, failed.Key, failed.Code, remedy)
}
