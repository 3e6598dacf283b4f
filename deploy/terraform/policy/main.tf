# What Spillway may do in its buckets, as JSON. It needs no provider: the test applies it.

variable "bucket" {
  description = "The bucket of --s3-bucket."
  type        = string
}

variable "try_bucket" {
  description = "The bucket of --s3-try-bucket. Null: try symbols go to bucket."
  type        = string
  default     = null
}

variable "prefix" {
  description = "The value of --s3-prefix."
  type        = string
  default     = "v1/"
}

variable "try_prefix" {
  description = "The value of --s3-try-prefix."
  type        = string
  default     = "try/v1/"
}

locals {
  try_bucket = coalesce(var.try_bucket, var.bucket)
  buckets    = distinct(["arn:aws:s3:::${var.bucket}", "arn:aws:s3:::${local.try_bucket}"])
  places = [
    "arn:aws:s3:::${var.bucket}/${var.prefix}",
    "arn:aws:s3:::${local.try_bucket}/${var.try_prefix}",
  ]
}

output "json" {
  description = "The policy."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Objects"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = [for place in local.places : "${place}*"]
      },
      {
        # Without ListBucket, S3 answers 403 for an object that does not exist. No condition on
        # a prefix: a HEAD of an object has none.
        Sid      = "Bucket"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
        Resource = local.buckets
      },
      {
        # The objects of the heartbeat and of spillway check. Symbol files are never deleted.
        Sid      = "ObjectsOfProbes"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject"]
        Resource = [for place in local.places : "${place}.spillway-*"]
      },
    ]
  })
}
