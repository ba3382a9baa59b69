"""Identity: API keys, callers, and the audit log of what they did."""
