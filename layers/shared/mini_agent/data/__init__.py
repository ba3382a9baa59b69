"""Postgres, Redis and the encryption of secrets."""
