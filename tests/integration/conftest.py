"""Clients of two tenants and of an operator, Redis, and what the functions log."""

import base64
from collections.abc import Iterator
from io import StringIO
from logging import StreamHandler
from typing import Any

import pytest
from redis import Redis

from functions.runs.tools import egress
from local import backends
from mini_agent.identity.callers import Caller
from mini_agent.telemetry import logger
from tests.conftest import Connection
from tests.databases import configured
from tests.integration.actors import Actors
from tests.integration.budgeting import SHORT, Ledgers
from tests.integration.client import Client
from tests.integration.keys import READER, MakeKey
from tests.integration.running import Model, Outside, Runs, say, scripted
from tests.integration.web import PUBLIC, Network, Web, watched
from tests.tls import Authority


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
def runs(patience: None, client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """Runs of an agent with a plain tool, an idempotent one, and one that needs approval."""
    endpoint = {"method": "GET", "url": "https://example.com/"}
    tools = [
        client.tool("plain", endpoint=endpoint),
        client.tool("again", endpoint=endpoint, idempotent=True),
        client.tool("guarded", endpoint=endpoint, requires_approval=True),
    ]
    agent = client.agent(tool_ids=[tool["id"] for tool in tools])
    model, outside = Model(say()), Outside()
    with scripted(monkeypatch, model, outside) as engine:
        yield Runs(client, agent, engine, model, outside)


@pytest.fixture
def patience(postgres: backends.Server, redis_server: backends.Server) -> Iterator[None]:
    """A busy machine is no outage: time limits that a test does not measure are long."""
    with configured():
        yield


@pytest.fixture
def ledgers(runs: Runs, admin: Connection, redis_server: backends.Server) -> Iterator[Ledgers]:
    """The budgets' ledgers of the tenant whose runs these are; its answers are short."""
    runs.fields = SHORT
    with Redis(unix_socket_path=redis_server.socket, decode_responses=True) as redis:
        yield Ledgers(runs, admin, redis)


@pytest.fixture
def network() -> Iterator[Network]:
    """A network that knows these names only, and notes each connection."""
    with watched() as network:
        network.names = {
            "public.example": [[PUBLIC]],
            "loopback.example": [["127.0.0.1"]],
            **{
                f"{name}{dot}": [["127.0.0.1"]]
                for name in ("localhost", "x.localhost", "ip6-loopback")
                for dot in ("", ".")
            },
        }
        yield network


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for certificates that nobody trusts by default."""
    return Authority(tmp_path_factory.mktemp("ca") / "authority")


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """OpenSSL trusts the authority, as its environment says."""
    with monkeypatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(authority.root))
        egress._tls_context.cache_clear()
        yield
    egress._tls_context.cache_clear()


@pytest.fixture
def public(network: Network, authority: Authority, trusting: None) -> Iterator[Web]:
    """A server with TLS at a public address, by the name that its certificate is for."""
    with Web(tls=authority.context) as web:
        network.names["localhost"] = network.names["localhost."] = [[PUBLIC]]
        network.routes[PUBLIC] = web.port
        yield web


@pytest.fixture
def web() -> Iterator[Web]:
    """A server without TLS at a loopback address."""
    with Web() as web:
        yield web


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
