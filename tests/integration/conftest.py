"""Clients of two tenants and of an operator, Redis, and what the functions log."""

import base64
from collections.abc import Iterator
from io import StringIO
from logging import StreamHandler
from typing import Any

import pytest
from redis import Redis

from local import backends
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import logger
from tests.conftest import Connection
from tests.databases import configured
from tests.integration.actors import Actors
from tests.integration.client import Client
from tests.integration.keys import READER, MakeKey


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
def make_key(client: Client) -> MakeKey:
    """Makes keys of the tenant."""

    def make(**fields: object) -> dict[str, Any]:
        answer = client("POST", "/keys", READER | fields)
        assert answer.status == 201, answer.text
        key: dict[str, Any] = answer.json
        return key

    return make


@pytest.fixture
def pretender(tenant: Caller, admin: Connection) -> Client:
    """A caller whose context has every scope, while the database knows its key with two."""
    admin.execute(
        "update app.api_keys set scopes = '{keys:write,tools:read}' where id = %s",
        (tenant.key_id,),
    )
    return Client(tenant)


@pytest.fixture
def actors(
    client: Client,
    operator: Caller,
    admin: Connection,
    postgres: backends.Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Actors]:
    with configured(secrets_key="local:" + base64.urlsafe_b64encode(bytes(32)).decode()):
        yield Actors(client, operator, admin, postgres, monkeypatch)


@pytest.fixture
def log() -> Iterator[StringIO]:
    """The log of the test, in place of the stream that the logger took when it was imported."""
    handler = logger.registered_handler
    assert isinstance(handler, StreamHandler)
    stream = StringIO()
    before = handler.setStream(stream)
    yield stream
    handler.setStream(before)
