package s3sink

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"spillway/internal/s3event"
)

// codeCanceled is the code of an operation that ended with its upload.
const codeCanceled = "canceled"

type operationKey struct{}

// noteOperations returns a middleware that calls ended at the end of each operation, with
// a context that is derived from the caller's.
func noteOperations(ended func(context.Context, s3event.Operation)) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("NoteOperations",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				o := &s3event.Operation{Name: middleware.GetOperationName(ctx), Began: time.Now()}
				o.Bucket, o.Key, o.Part = placeOf(in.Parameters)
				out, metadata, err := next.HandleInitialize(context.WithValue(ctx, operationKey{}, o), in)
				o.Took = time.Since(o.Began)
				o.Code = codeOfOperation(ctx, o.Name, err)
				ended(ctx, *o)
				return out, metadata, err
			}), middleware.Before)
	}
}

// noteAttempt adds an attempt to the operation of ctx, if operations are noted. An
// operation makes one attempt after the other.
func noteAttempt(ctx context.Context, a s3event.Attempt) {
	o, ok := ctx.Value(operationKey{}).(*s3event.Operation)
	if !ok {
		return
	}
	o.Attempts++
	o.InFlight += a.Took
	o.Sent += a.Sent
	o.Status = a.Status
}

// placeOf returns where an operation works. key is empty and part is 0 if it has none.
func placeOf(parameters any) (bucket, key string, part int32) {
	switch in := parameters.(type) {
	case *s3.HeadObjectInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), 0
	case *s3.GetObjectInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), 0
	case *s3.PutObjectInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), 0
	case *s3.DeleteObjectInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), 0
	case *s3.CreateMultipartUploadInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), 0
	case *s3.UploadPartInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), aws.ToInt32(in.PartNumber)
	case *s3.CompleteMultipartUploadInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), 0
	case *s3.AbortMultipartUploadInput:
		return aws.ToString(in.Bucket), aws.ToString(in.Key), 0
	case *s3.ListMultipartUploadsInput:
		return aws.ToString(in.Bucket), "", 0
	}
	return "", "", 0
}

// codeOfOperation returns the code of an operation's error, as [s3event.Operation] has it.
// ctx is the caller's.
func codeOfOperation(ctx context.Context, name string, err error) string {
	switch {
	case err == nil,
		name == "HeadObject" && hasCode(err, "NotFound"),
		name == "AbortMultipartUpload" && hasCode(err, "NoSuchUpload"):
		return ""
	}
	if _, slow := errors.AsType[*timeLimitError](context.Cause(ctx)); ctx.Err() != nil && !slow {
		return codeCanceled
	}
	return codeOf(tooLong(ctx, err))
}
