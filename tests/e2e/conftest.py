"""Tests of a running platform: `make run`, `sam local` or a deployed stage."""

import os

import httpx
import pytest


@pytest.fixture(scope="session")
def base_url() -> str:
    """Where the platform answers, without a slash at the end."""
    url = os.environ.get("MAP_BASE_URL")
    if not url:
        pytest.skip("run it with MAP_BASE_URL=http://127.0.0.1:8000 (see `make run`, `make up`)")
    return url.rstrip("/")


@pytest.fixture(scope="session")
def full_gateway(base_url: str) -> bool:
    """Whether API Gateway's own answers have our shape; `sam local` does not know them."""
    return "error_code" in httpx.get(f"{base_url}/no/such/path", timeout=60).json()
