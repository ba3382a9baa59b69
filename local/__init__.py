"""The local run: what API Gateway, Lambda, RDS and ElastiCache are on AWS."""
