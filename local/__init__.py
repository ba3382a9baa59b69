"""The local run: the parts that API Gateway, Lambda, RDS and ElastiCache play on AWS."""

REGION = "us-east-1"
ACCOUNT = "000000000000"
