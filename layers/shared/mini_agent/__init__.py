"""What every room of the Mini Agent Platform shares."""

VERSION = "1.0.0"
