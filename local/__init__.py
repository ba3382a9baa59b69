"""The local run: what API Gateway, Lambda, RDS and ElastiCache are on AWS."""

REGION = "us-east-1"
ACCOUNT = "000000000000"
