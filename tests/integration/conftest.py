"""Clients of two tenants, and sandboxes that start over."""

from collections.abc import Callable, Iterator

import pytest

from local import backends
from mini_agent import db, ratelimit
from mini_agent.settings import settings
from mini_agent.tenant import Caller
from tests.integration.client import Client

Sandbox = Callable[..., None]


@pytest.fixture
def client(tenant: Caller) -> Client:
    return Client(tenant)


@pytest.fixture
def other(stranger: Caller) -> Client:
    return Client(stranger)


@pytest.fixture
def sandbox(postgres: backends.Server, redis_server: backends.Server) -> Iterator[Sandbox]:
    """Starts this process over as a new sandbox would: this environment, no connection yet."""
    with pytest.MonkeyPatch.context() as environment:

        def start(**variables: str) -> None:
            for name, value in variables.items():
                environment.setenv(name, value)
            _forget()

        yield start
    _forget()


def _forget() -> None:
    if db._connection:
        db._connection.close()
    db._connection = None
    if ratelimit.client.cache_info().currsize:
        ratelimit.client().close()
    ratelimit.client.cache_clear()
    ratelimit._script.cache_clear()
    ratelimit._closed_until = 0.0
    settings.cache_clear()
