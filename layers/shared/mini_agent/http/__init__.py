"""HTTP: what comes between API Gateway and a room's service."""
