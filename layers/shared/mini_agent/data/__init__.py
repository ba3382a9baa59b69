"""What reaches Postgres, Redis and keys of KMS."""
