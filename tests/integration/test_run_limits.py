"""A tenant's limits of runs: how many a minute, and how many at once."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from redis import Redis

from functions.runs.llm.messages import ModelRequest
from functions.runs.llm.messages import ModelResponse as Said
from local import backends
from mini_agent.errors import ServiceUnavailable
from mini_agent.http import rate_limit
from mini_agent.identity.callers import Caller
from tests.conftest import Connection, MakeTenant
from tests.databases import configured
from tests.events import Answer, uuid
from tests.integration import running
from tests.integration.client import RUN, Client
from tests.integration.running import Engine, Model, Outside, Waiting, ask_for, scripted
from tests.integration.sandboxes import at_once

BACKGROUND = {"Prefer": "respond-async"}
KEY = {"Idempotency-Key": "key"}


@pytest.fixture(autouse=True)
def patience(postgres: backends.Server, redis_server: backends.Server) -> Iterator[None]:
    """A busy machine is no outage."""
    with configured():
        yield


@pytest.fixture
def model() -> Model:
    return Model(running.say())


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, model: Model) -> Iterator[Engine]:
    with scripted(monkeypatch, model, Outside()) as engine:
        yield engine


@pytest.fixture
def agent(client: Client) -> dict[str, Any]:
    return client.agent()


def limit(admin: Connection, name: str, value: int | None) -> None:
    admin.execute(f"update app.tenants set {name} = %s".encode(), (value,))


def post(
    client: Client, agent: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Answer:
    return client("POST", f"/agents/{agent['id']}/run", RUN, headers)


def count(admin: Connection, table: str) -> int:
    return admin.execute(f"select from app.{table}".encode()).rowcount


# ── A minute ─────────────────────────────────────────────────────────────────────────────────────


def test_runs_a_minute_have_a_window_of_their_own(
    client: Client,
    other: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    redis_server: backends.Server,
) -> None:
    limit(admin, "runs_per_minute", 2)
    answers = [post(client, agent, headers) for headers in (BACKGROUND, None, None, BACKGROUND)]
    assert [answer.status for answer in answers] == [202, 200, 429, 429]
    refused = answers[-1]
    wait = int(refused.headers["retry-after"])
    assert 30 < wait <= 60
    assert refused.error_code == "RATE_LIMIT_EXCEEDED"
    assert refused.json["details"] == {
        "limit": 2,
        "window_seconds": 60,
        "retry_after_seconds": wait,
    }
    assert refused.headers["x-ratelimit-limit"] == "1000000", "requests have theirs"
    assert count(admin, "executions") == 2
    assert client("GET", "/tools").status == 200
    assert post(other, other.agent()).status == 200
    with Redis(unix_socket_path=redis_server.socket) as redis:
        assert client.caller
        assert redis.pttl(f"ratelimit:{{{client.caller.tenant_id}}}:runs") <= 60_000


def test_what_is_no_run_is_not_counted_as_one(
    client: Client, agent: dict[str, Any], engine: Engine, admin: Connection
) -> None:
    limit(admin, "runs_per_minute", 1)
    assert client("POST", f"/agents/{uuid(1)}/run", RUN).status == 403
    assert client("POST", f"/agents/{agent['id']}/run", RUN | {"model": "none"}).status == 422
    assert post(client, agent).status == 200
    assert post(client, agent).status == 429


def test_while_redis_is_away_no_run_is_let_through_uncounted(
    tenant: Caller, redis_server: backends.Server
) -> None:
    with configured(redis_url=f"unix://{redis_server.socket}.not-there"):
        with pytest.raises(ServiceUnavailable) as away:
            rate_limit.admit_run(tenant, 5)
        assert away.value.details == {"reason": "rate_limiter"}


# ── At once ──────────────────────────────────────────────────────────────────────────────────────


def test_queued_and_running_runs_count_and_others_do_not(
    client: Client,
    other: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    model: Model,
) -> None:
    tool = client.tool("guarded")
    admin.execute("update app.tools set requires_approval = true")
    guarded = client.agent("Guarded", tool_ids=[tool["id"]])
    limit(admin, "concurrent_runs", 2)
    for _ in range(2):
        assert post(client, guarded, BACKGROUND).status == 202
    for headers in (None, BACKGROUND):
        refused = post(client, agent, headers)
        assert (refused.status, refused.error_code) == (429, "TOO_MANY_RUNS")
        assert refused.json["details"] == {"limit": 2}
        assert int(refused.headers["retry-after"]) > 0
    assert post(other, other.agent()).status == 200
    seen: list[int] = []

    def meanwhile(_: ModelRequest) -> Said:
        seen.append(post(client, agent).status)
        return ask_for("guarded")

    model.script = [meanwhile]
    with pytest.raises(Waiting):
        engine.work(engine.queued[0])
    assert seen == [429]
    model.script = [running.say()]
    assert post(client, agent).status == 200, "one that waits for a person takes no room"
    limit(admin, "concurrent_runs", 1)
    assert post(client, agent).status == 429
    limit(admin, "concurrent_runs", None)
    assert post(client, agent).status == 200


@pytest.mark.parametrize("headers", [{}, BACKGROUND], ids=["waits", "in the background"])
def test_a_refusal_leaves_nothing_behind(
    client: Client,
    agent: dict[str, Any],
    engine: Engine,
    admin: Connection,
    headers: dict[str, str],
) -> None:
    limit(admin, "concurrent_runs", 1)
    assert post(client, agent, BACKGROUND).status == 202
    assert post(client, agent, headers | KEY).status == 429
    assert (count(admin, "executions"), count(admin, "execution_steps")) == (1, 0)
    assert count(admin, "idempotency_keys") == 0
    assert len(engine.queued) == 1
    engine.work(engine.queued.pop())
    first = post(client, agent, headers | KEY)
    assert (first.status, "idempotency-replayed" in first.headers) == (
        202 if headers else 200,
        False,
    )
    again = post(client, agent, headers | KEY)
    assert (again.status, again.text) == (first.status, first.text), "though there is no room now"


def send(path: str, client: Client) -> list[int]:
    """Queue five runs."""
    with (
        pytest.MonkeyPatch.context() as patch,
        scripted(patch, Model(running.say()), Outside()),
    ):
        return [client("POST", path, RUN, BACKGROUND).status for _ in range(5)]


def test_of_100_runs_that_20_sandboxes_begin_at_once_as_many_as_allowed_begin(
    make_tenant: MakeTenant, admin: Connection
) -> None:
    caller = make_tenant()
    path = f"/agents/{Client(caller).agent()['id']}/run"
    limit(admin, "concurrent_runs", 7)
    got = [status for told in at_once(20, caller, partial(send, path)) for status in told]
    assert sorted(got) == [202] * 7 + [429] * 93
    assert count(admin, "executions") == 7
