package s3sink

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"spillway/stream"
)

// permissions are the permissions that each operation needs.
var permissions = map[string]string{
	"HeadObject":            needsGet,
	"GetObject":             needsGet,
	"PutObject":             actionPut,
	"CreateMultipartUpload": actionPut,
	"UploadPart":            actionPut,
	"AbortMultipartUpload":  actionAbort,
	"ListObjectsV2":         actionList,
}

// What lookups need.
const (
	needsList = actionList + ", without which S3 answers 403 for an object that does not exist"
	needsGet  = actionGet + ", and " + needsList
)

// lacks says that a permission is missing.
func lacks(needs string) string {
	return "The credentials lack a permission: this needs " + needs + "."
}

// denies reports whether a code says that the credentials lack a permission.
func denies(code string) bool { return code == "AccessDenied" || code == "Forbidden" }

// What to do about a failure.
const (
	fixBucket    = "Check --s3-bucket and --s3-try-bucket: S3 has no such bucket."
	fixAccessKey = "Check the access key ($AWS_ACCESS_KEY_ID, $AWS_PROFILE or the machine's role), and that --s3-endpoint is the store that it is for: S3 does not know it."
	fixSecret    = "Check $AWS_SECRET_ACCESS_KEY or the profile: it does not belong to the access key. If it is right, a proxy in front of the store changes requests."
	fixToken     = "Check where the credentials come from: they have expired, or $AWS_SESSION_TOKEN does not belong to them."
	fixRegion    = "Check --s3-region ($AWS_REGION): the bucket is in another region."
	fixAccount   = "Check the account with the store's operator: S3 has suspended it or its credentials."
	fixClock     = "Set the clock of this machine: it differs too much from S3's."
	fixLoad      = "S3 is overloaded or down, or wants fewer requests: check the store. If this continues, lower --s3-concurrency."
	fixStore     = "The store has failed: check the store. Nothing has to be done here."
	fixFull      = "The store is full, or its quota is used up: make room there."
	fixOther     = "This is not an answer of S3: check --s3-endpoint, and the proxies or firewalls in front of the store."
	fixHost      = "Check --s3-endpoint, or --s3-region and --s3-bucket, which are part of AWS's host names. If it is right, check DNS. Without --s3-path-style, the bucket is part of the host name."
	fixNetwork   = "Check --s3-endpoint, the network, and that a firewall lets this machine connect."
	fixProxy     = "Check $HTTPS_PROXY and $HTTP_PROXY, and name the store in $NO_PROXY if it needs no proxy."
)

// remedies say what to do, by error code.
var remedies = map[string]string{
	"NoSuchBucket": fixBucket, "InvalidBucketName": fixBucket,

	"InvalidAccessKeyId": fixAccessKey, "XAdminUserNotFound": fixAccessKey,
	"SignatureDoesNotMatch": fixSecret,
	"ExpiredToken":          fixToken, "InvalidToken": fixToken, "TokenRefreshRequired": fixToken,
	"AccountProblem": fixAccount, "AllAccessDisabled": fixAccount, "NotSignedUp": fixAccount,
	"InvalidPayer": fixAccount, "UserSuspended": fixAccount,
	"BadRequest": "Check the credentials and --s3-region. (The answer to a HEAD has only the status 400.)",

	"PermanentRedirect": fixRegion, "MovedPermanently": fixRegion, "AuthorizationHeaderMalformed": fixRegion, "TemporaryRedirect": fixRegion,
	"IllegalLocationConstraintException": fixRegion,

	"RequestTimeTooSkewed": fixClock, "RequestExpired": fixClock,

	"SlowDown": fixLoad, "ServiceUnavailable": fixLoad, "TooManyRequests": fixLoad, "HTTP 503": fixLoad, "HTTP 429": fixLoad,

	"InternalError": fixStore, "InternalServerError": fixStore, "BadGateway": fixStore, "GatewayTimeout": fixStore,
	"HTTP 500": fixStore, "HTTP 502": fixStore, "HTTP 504": fixStore,

	"QuotaExceeded": fixFull, "InsufficientStorage": fixFull, "InsufficientCapacity": fixFull, "XMinioStorageFull": fixFull, "HTTP 507": fixFull,

	"HTTP 400": fixOther, "HTTP 403": fixOther, "HTTP 404": fixOther, "HTTP 405": fixOther, "HTTP 407": fixProxy,

	codeNoHost:       fixHost,
	codeDNS:          "Check the name servers of this machine: they do not answer.",
	codeRefused:      "Check the host and port of --s3-endpoint, and that the store is running: nobody listens there.",
	codeUnreachable:  fixNetwork,
	codeSlowConnect:  fixNetwork + " Nothing answers there.",
	codeLost:         "The store, or a proxy in front of it, closes connections: check both.",
	codeNoProxy:      fixProxy,
	codeProxyRefused: fixProxy,

	codePlainPort:   "--s3-endpoint says https://, but the store speaks plain http at that port: write http://, or name its port for https.",
	codeTLSPort:     "--s3-endpoint says http://, but the store speaks TLS at that port: write https://.",
	codeSlowTLS:     "Check that the port of --s3-endpoint is one for https, and that the store is well.",
	codeTLS:         "The store, or a proxy in front of it, refuses this TLS client: the log says why.",
	codeUnknownCA:   "Name a file with the certificate of the store's certificate authority in $AWS_CA_BUNDLE. If the authority should be known, install the system's ca-certificates.",
	codeExpired:     "Renew the store's certificate, or set the clock of this machine.",
	codeOtherHost:   "Use the host name of the store's certificate in --s3-endpoint: the log has both. If a bucket's name with dots is part of the host name, set --s3-path-style.",
	codeCertificate: "The store's certificate cannot be used: the log says why.",

	codeTimeout:       "The store or the network to it is too slow, or hangs. A part of 8 MiB needs some 120 KB/s on each connection.",
	codeOther:         fixOther + " The log has more.",
	codeNoCredentials: "Check where the credentials come from: the environment ($AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY), $AWS_PROFILE, or the machine's role.",
	codeOutOfTime:     "The store answers too slowly for the entries of an upload: check the store. What was published stays, and a retry skips it.",
	codeNotStored:     "The store does not have what it says it has stored: it loses objects, or deletes them when a multipart upload of the same key is aborted. See docs/stores.md.",
	codeUnchecked:     "The store checks none of the checksums that Spillway can send, and its ETags are no MD5s. Damaged files would not be noticed, so nothing is stored.",
	codeDiffers:       "The store, or a proxy in front of it, changes the body of objects: files may be damaged.",
	codeMetadata:      "A proxy in front of the store, or the store itself, drops or changes metadata. nginx drops headers with underscores in their names: set `underscores_in_headers on` there.",
}

// Explain says in one line what failed at the store, with S3's error code, and what the
// operator can do. It contains no secret.
func Explain(err error) string {
	failure, remedy := explain(err)
	return failure + " " + remedy
}

// explain returns the two sentences of Explain.
func explain(err error) (failure, remedy string) {
	failed, ok := errors.AsType[*stream.StoreError](err)
	if !ok {
		return "The store cannot be used.", "See the log."
	}
	remedy, hasRemedy := remedies[failed.Code]
	needs, hasPermission := permissions[failed.Op]
	switch {
	case hasRemedy:
	case denies(failed.Code) && hasPermission:
		remedy = lacks(needs)
	default:
		remedy = "The log has the store's message."
	}
	if answered, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answered.Response != nil {
		remedy += answerDetail(remedy, answered.Response.Header)
	}
	return fmt.Sprintf("%s of %s failed: %s.", failed.Op, failed.Key, failed.Code), remedy
}

// validRegion matches names of regions. They come from outside and are used in messages.
var validRegion = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// answerDetail returns what the header of an answer adds to a remedy.
func answerDetail(remedy string, header http.Header) string {
	switch region := header.Get(regionHeader); {
	case remedy == fixRegion && validRegion.MatchString(region):
		return " S3 says that it is in " + region + "."
	case remedy == fixClock:
		at, err := http.ParseTime(header.Get("Date"))
		if err != nil {
			return ""
		}
		ahead, word := time.Since(at), "ahead of"
		if ahead < 0 {
			ahead, word = -ahead, "behind"
		}
		return fmt.Sprintf(" It is %s %s S3's.", strings.TrimSuffix(ahead.Round(time.Minute).String(), "0s"), word)
	}
	return ""
}
