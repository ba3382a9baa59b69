"""`map`, the command line of the Mini Agent Platform: a client of its HTTP API."""
