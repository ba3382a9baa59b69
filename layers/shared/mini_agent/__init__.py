"""What every room of the Mini Agent Platform shares."""

API_VERSION = "1.0.0"
"""The API's version, which `/health` tells: clients are promised that it stays as it is while
nothing that they rely on is taken away. The release's version is in pyproject.toml."""
