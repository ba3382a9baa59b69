"""How often a request waits for Postgres and Redis, counted on the wire.

A relay between client and server counts how often the client speaks after the server has spoken:
whatever is sent together, as in a pipeline, counts once.
"""

import select
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from functions.authorizer.app import identify
from functions.runs.llm import mock
from functions.runs.llm.messages import ModelResponse as ModelAnswer
from local import backends
from mini_agent.data import db
from mini_agent.identity import api_keys
from tests.conftest import MakeTenant
from tests.databases import Connection, configured
from tests.events import Answer, uuid
from tests.integration.client import AGENT, RUN, TOOL, Client

POSTGRES = ".s.PGSQL.5432"
FLUSH = b"H\0\0\0\4"
"""What psycopg may send after a pipeline's last message, at times after the answer: none waits."""


class Relay:
    """Relays connections from one Unix socket to the server on another, and counts round trips."""

    def __init__(self, path: Path, server: Path) -> None:
        self.trips = 0
        self._server = str(server)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes _accept
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            other = {client: server, server: client}
            spoke_last = server
            while True:
                for speaker in select.select([client, server], [], [])[0]:
                    said = speaker.recv(65536)
                    if not said:
                        return
                    if said != FLUSH:
                        self.trips += speaker is client and spoke_last is server
                        spoke_last = speaker
                    other[speaker].sendall(said)


@dataclass(frozen=True)
class Wire:
    postgres: Relay
    redis: Relay

    def trips(self, send: Callable[[], object]) -> tuple[int, int]:
        """Return the round trips of a call to Postgres and to Redis."""
        before = self.postgres.trips, self.redis.trips
        send()
        return self.postgres.trips - before[0], self.redis.trips - before[1]


@contextmanager
def relays(postgres: Path, redis: Path) -> Iterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="map-") as folder:
        wire = Wire(Relay(Path(folder) / POSTGRES, postgres), Relay(Path(folder) / "redis", redis))
        with configured(database_host=folder, redis_url=f"unix://{folder}/redis"):
            yield wire
        wire.postgres.close()
        wire.redis.close()


@pytest.fixture
def wire(postgres: backends.Server, redis_server: backends.Server, clean: None) -> Iterator[Wire]:
    with relays(Path(postgres.socket) / POSTGRES, Path(redis_server.socket)) as wire:
        yield wire


@pytest.fixture
def ids(wire: Wire, client: Client) -> dict[str, str]:
    """Return the ids of a tenant's items; the sandbox is warm afterwards."""
    tool, unused = client.tool(), client.tool("unused")
    agent = client.agent(tool_ids=[tool["id"]])
    return {
        "tool": tool["id"],
        "unused": unused["id"],
        "agent": agent["id"],
        "run": client.run(agent)["execution_id"],
        "nothing": str(uuid(1)),
    }


@pytest.mark.parametrize(
    "path",
    [
        "/tools/{tool}",
        "/tools/{nothing}",
        "/tools?include_total=true&agent_name=Ann",
        "/agents/{agent}",
        "/agents?limit=1",
        "/history/{run}",
        "/history?include_total=true",
        "/audit?include_total=true",
    ],
)
def test_a_read_is_one_round_trip_to_postgres_and_one_to_redis(
    wire: Wire, client: Client, ids: dict[str, str], path: str
) -> None:
    assert wire.trips(lambda: client("GET", path.format(**ids))) == (1, 1)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/tools", TOOL | {"name": "new"}, 201),
        ("PUT", "/tools/{tool}", {"name": "new"}, 200),
        ("DELETE", "/tools/{unused}", None, 204),
        ("DELETE", "/tools/{nothing}", None, 404),
        ("POST", "/agents", AGENT | {"name": "new"}, 201),
        ("PUT", "/agents/{agent}", {"tool_ids": []}, 200),
        ("DELETE", "/agents/{agent}", None, 204),
    ],
)
def test_a_write_is_one_round_trip_more_for_its_commit(
    wire: Wire,
    client: Client,
    ids: dict[str, str],
    method: str,
    path: str,
    body: object,
    status: int,
) -> None:
    answers: list[Answer] = []
    trips = wire.trips(lambda: answers.append(client(method, path.format(**ids), body)))
    assert (trips, answers[0].status) == ((2, 1), status)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/tools", TOOL, 409),
        ("DELETE", "/tools/{tool}", None, 409),
        ("DELETE", "/agents/{nothing}", None, 404),
    ],
)
def test_a_refused_write_is_at_most_two_round_trips_more_than_a_read(
    wire: Wire,
    client: Client,
    ids: dict[str, str],
    method: str,
    path: str,
    body: object,
    status: int,
) -> None:
    assert 1 <= refused(wire, client, method, path.format(**ids), body, status) <= 1 + 2


@pytest.mark.parametrize(
    ("method", "path", "body", "least"),
    [
        ("PUT", "/agents/{agent}", {"tool_ids": [str(uuid(1))]}, 1),
        ("POST", "/agents/{nothing}/run", RUN, 1),
        ("GET", "/tools", None, 0),
    ],
)
def test_what_is_noted_of_a_refusal_is_a_write_more(
    wire: Wire,
    client: Client,
    ids: dict[str, str],
    method: str,
    path: str,
    body: object,
    least: int,
) -> None:
    if least == 0:
        assert client.caller
        client.caller = replace(client.caller, scopes=frozenset())
    trips = refused(wire, client, method, path.format(**ids), body, 403)
    assert least + 2 <= trips <= least + 2 + 2 * least


def refused(wire: Wire, client: Client, method: str, path: str, body: object, status: int) -> int:
    """Return a refusal's round trips to Postgres.

    The best of three: one that comes while the rest is being sent counts as one trip more.
    """
    answers: list[Answer] = []
    trips = [wire.trips(lambda: answers.append(client(method, path, body))) for _ in range(3)]
    assert {answer.status for answer in answers} == {status}
    assert {redis for _, redis in trips} == {1}
    return min(trips)[0]


def test_an_idempotency_key_costs_one_round_trip_and_its_replay_two_in_all(
    wire: Wire, client: Client, ids: dict[str, str]
) -> None:
    def send() -> Answer:
        return client("POST", "/tools", TOOL | {"name": "new"}, {"Idempotency-Key": "key"})

    assert [wire.trips(send) for _ in range(2)] == [(2 + 1, 1), (2, 1)]


def test_a_run_is_two_writes_of_one_round_trip_each(
    wire: Wire, client: Client, ids: dict[str, str]
) -> None:
    """One with the first step before the model is asked, and one at the end."""
    assert wire.trips(lambda: client("POST", f"/agents/{ids['agent']}/run", RUN)) == (1 + 1, 1)


def test_a_run_with_limits_is_a_read_and_two_writes(
    wire: Wire, client: Client, admin: Connection, ids: dict[str, str]
) -> None:
    admin.execute("update app.tenants set concurrent_runs = 5")
    assert wire.trips(lambda: client("POST", f"/agents/{ids['agent']}/run", RUN)) == (1 + 1 + 1, 1)


def open_transactions(admin: Connection) -> int:
    return admin.execute(
        "select from pg_stat_activity where usename = 'map_api'"
        " and (state <> 'idle' or xact_start is not null)"
    ).rowcount


def test_no_transaction_is_open_while_the_model_thinks(
    admin: Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = client.agent()
    seen = []

    def ask(*_: object, **__: object) -> ModelAnswer:
        seen.append(open_transactions(admin))
        return ModelAnswer("An answer", [], "stop", 1, 1)

    monkeypatch.setattr(mock.MockModel, "ask", ask)
    client.run(agent)
    assert seen == [0]
    assert db._connection
    with db._connection.transaction():
        assert open_transactions(admin) == 1


def test_the_authorizer_asks_once_and_writes_nothing(
    wire: Wire, admin: Connection, make_tenant: MakeTenant
) -> None:
    key = api_keys.generate()
    make_tenant(key=key)
    admin.execute("alter role map_authorizer set default_transaction_read_only = on")
    try:
        with configured(database_user="map_authorizer"):
            assert identify([key]) is not None  # connects
            assert wire.trips(lambda: identify([key])) == (1, 0)
            # Asks whether it ever was a key; nothing is written, since it never was.
            assert wire.trips(lambda: identify([api_keys.generate()])) == (2, 0)
            assert wire.trips(lambda: identify([f"{key}x"])) == (0, 0)
    finally:
        admin.execute("alter role map_authorizer reset default_transaction_read_only")


def test_readiness_asks_each_once_and_health_nobody(wire: Wire) -> None:
    anyone = Client()
    anyone("GET", "/ready")  # connects
    assert wire.trips(lambda: anyone("GET", "/ready")) == (1, 1)
    assert wire.trips(lambda: anyone("GET", "/health")) == (0, 0)
