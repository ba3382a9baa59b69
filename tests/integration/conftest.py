"""Clients of two tenants and of an operator, Redis, and what the functions log."""

from collections.abc import Iterator
from io import StringIO
from logging import StreamHandler

import pytest
from redis import Redis

from local import backends
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import logger
from tests.integration.client import Client


@pytest.fixture
def client(tenant: Caller) -> Client:
    return Client(tenant)


@pytest.fixture
def other(stranger: Caller) -> Client:
    return Client(stranger)


@pytest.fixture
def operating(operator: Caller) -> Client:
    return Client(operator)


@pytest.fixture(scope="session")
def redis(redis_server: backends.Server) -> Iterator[Redis]:
    with Redis(unix_socket_path=redis_server.socket) as client:
        yield client


@pytest.fixture
def log() -> Iterator[StringIO]:
    """The log of the test, in place of the stream that the logger took when it was imported."""
    handler = logger.registered_handler
    assert isinstance(handler, StreamHandler)
    stream = StringIO()
    before = handler.setStream(stream)
    yield stream
    handler.setStream(before)
