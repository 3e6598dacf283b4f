// The libraries for bills of materials and root certificates are for this program alone:
// they stay out of Spillway's own dependencies.
module spillway/testdata/delivery/release

go 1.26.0

require (
	github.com/CycloneDX/cyclonedx-go v0.12.0
	github.com/google/uuid v1.6.0
	golang.org/x/crypto/x509roots/fallback v0.0.0-20261030153154-30a33513ff6d
	golang.org/x/mod v0.43.0
)
