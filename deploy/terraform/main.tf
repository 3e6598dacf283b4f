# A role that may store symbols in a bucket, and a rule that ends its unfinished uploads if no
# instance does. The bucket exists already: whoever reads symbols decides what it is like.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "Name of the role and of its policy."
  type        = string
  default     = "spillway"
}

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

variable "trust_policy" {
  description = "Who may take the role, as JSON: EC2, or the identity provider of a Kubernetes cluster. Null makes no role, only the policy."
  type        = string
  default     = null
}

variable "manage_lifecycle" {
  description = "Whether to set the lifecycle rules of the buckets. A bucket has one set of rules: false if there are others, which then need those of deploy/s3/lifecycle.json."
  type        = bool
  default     = true
}

module "policy" {
  source     = "./policy"
  bucket     = var.bucket
  try_bucket = var.try_bucket
  prefix     = var.prefix
  try_prefix = var.try_prefix
}

resource "aws_iam_policy" "spillway" {
  name        = var.name
  description = "Store debug symbols."
  policy      = module.policy.json
}

resource "aws_iam_role" "spillway" {
  count              = var.trust_policy == null ? 0 : 1
  name               = var.name
  assume_role_policy = var.trust_policy
}

resource "aws_iam_role_policy_attachment" "spillway" {
  count      = length(aws_iam_role.spillway)
  role       = aws_iam_role.spillway[count.index].name
  policy_arn = aws_iam_policy.spillway.arn
}

locals {
  try_bucket = coalesce(var.try_bucket, var.bucket)
  # The prefixes in each bucket.
  prefixes = {
    for bucket in toset([var.bucket, local.try_bucket]) : bucket => concat(
      bucket == var.bucket ? [var.prefix] : [],
      bucket == local.try_bucket ? [var.try_prefix] : [],
    )
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "spillway" {
  for_each = var.manage_lifecycle ? local.prefixes : {}
  bucket   = each.key

  dynamic "rule" {
    for_each = each.value
    content {
      id     = "spillway-unfinished-uploads-${rule.key}"
      status = "Enabled"
      filter {
        prefix = rule.value
      }
      # Spillway aborts them itself after --sweep-age (24h).
      abort_incomplete_multipart_upload {
        days_after_initiation = 2
      }
    }
  }
}

output "policy_arn" {
  description = "ARN of the policy."
  value       = aws_iam_policy.spillway.arn
}

output "role_arn" {
  description = "ARN of the role; null without trust_policy."
  value       = one(aws_iam_role.spillway[*].arn)
}
