"""Tests of a running platform: `sam local`, a deployed stage, or else a `make run` of their own."""

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.contract.conftest import finish, start


@pytest.fixture(scope="session")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the platform answers, without a slash at the end: MAP_BASE_URL, or started here."""
    if url := os.environ.get("MAP_BASE_URL"):
        yield url.rstrip("/")
    else:
        stack = start(tmp_path_factory.mktemp("e2e"))
        yield stack.url
        finish(stack)


@pytest.fixture(scope="session")
def full_gateway(base_url: str) -> bool:
    """Whether API Gateway's own answers have our shape; `sam local` does not know them."""
    return "error_code" in httpx.get(f"{base_url}/no/such/path", timeout=60).json()
