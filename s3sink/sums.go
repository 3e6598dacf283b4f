package s3sink

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var (
	// errUnchecked says that nothing shows that the store got the right bytes.
	errUnchecked = errors.New("s3: the answer has neither the CRC-32 of the body nor an ETag that is its MD5")

	// errOtherChecksum says that a store took a checksum, but did not check it.
	errOtherChecksum = errors.New("s3: the store does not check this checksum")
)

// sums are the checksums that are sent with a body. Every answer has to show that the store
// got these bytes.
type sums struct {
	kind  checksum
	crc32 uint32
	md5   []byte // nil: not known
}

// addMD5 computes the MD5 of the body if it is to be sent or compared, unless it is known. The
// error says that the body cannot be read.
func (s *sums) addMD5(body *requestBody) (err error) {
	if !s.kind.isCRC32() && s.md5 == nil {
		s.md5, err = md5Of(body)
	}
	return err
}

func md5Of(body *requestBody) ([]byte, error) {
	sum := md5.New()
	_, err := io.Copy(sum, io.NewSectionReader(body, 0, body.size))
	return sum.Sum(nil), err
}

// headers returns the headers of a request with these sums; nil: none.
func (s sums) headers() (crc32Header, md5Header *string) {
	switch {
	case s.kind.isCRC32():
		return aws.String(encodeCRC32(s.crc32)), nil
	case s.kind == contentMD5:
		return nil, aws.String(base64.StdEncoding.EncodeToString(s.md5))
	}
	return nil, nil
}

// options keep the SDK from adding checksums of its own. Some stores refuse those.
func (c checksum) options() []func(*s3.Options) {
	if c.isCRC32() {
		return nil
	}
	return []func(*s3.Options){func(o *s3.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	}}
}

// mode asks for the checksum of an object, if the store has any. Some stores refuse the
// question.
func (c checksum) mode() types.ChecksumMode {
	if c.isCRC32() {
		return types.ChecksumModeEnabled
	}
	return ""
}

// proof returns which checksum shows that the store got the body: its answer has that ETag
// and, unless it is nil, that CRC-32.
func (s sums) proof(body *requestBody, etag, crc32 *string) (checksum, error) {
	switch got := aws.ToString(crc32); {
	case got != "" && got != encodeCRC32(s.crc32):
		return 0, fmt.Errorf("%w: its CRC-32 is %s, not %s", errDiffers, got, encodeCRC32(s.crc32))
	case got != "":
		return partCRC32, nil
	case s.kind == contentMD5:
		return contentMD5, nil // the probe saw that the store refuses a wrong one
	}
	if s.md5 == nil {
		var err error
		if s.md5, err = md5Of(body); err != nil {
			return 0, err
		}
	}
	if trimETag(etag) != hex.EncodeToString(s.md5) {
		return 0, errUnchecked
	}
	return etagMD5, nil
}

// provenBy returns errOtherChecksum if proof shows that the store does not check c.
func (c checksum) provenBy(proof checksum) error {
	if proof > c && proof > partCRC32 {
		return errOtherChecksum
	}
	return nil
}

// trimETag returns an ETag for comparisons: without its quotes, without the mark of a weak
// one, which some proxies add, and in lower case, which Alibaba's OSS does not use.
func trimETag(etag *string) string {
	return strings.ToLower(strings.Trim(strings.TrimPrefix(aws.ToString(etag), "W/"), `"`))
}

// encodeCRC32 returns a checksum as S3 writes it: big-endian, in base64.
func encodeCRC32(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}
