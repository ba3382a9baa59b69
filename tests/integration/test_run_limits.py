"""A tenant's limits of runs: how many a minute, and how many at once."""

from functools import partial

import pytest
from redis import Redis

from functions.runs.llm.messages import ModelRequest, ModelResponse
from local import backends
from mini_agent.errors import ServiceUnavailable
from mini_agent.http import rate_limit
from mini_agent.identity.callers import Caller
from tests.conftest import Connection, MakeTenant
from tests.databases import configured
from tests.events import uuid
from tests.integration.client import RUN, Client
from tests.integration.running import BACKGROUND, Model, Outside, Runs, ask_for, say, scripted
from tests.integration.sandboxes import at_once

pytestmark = pytest.mark.usefixtures("patience")

KEY = {"Idempotency-Key": "key"}


def limit(admin: Connection, name: str, value: int | None) -> None:
    admin.execute(f"update app.tenants set {name} = %s".encode(), (value,))


def count(admin: Connection, table: str) -> int:
    return admin.execute(f"select from app.{table}".encode()).rowcount


# ── A minute ─────────────────────────────────────────────────────────────────────────────────────


def test_runs_a_minute_have_a_window_of_their_own(
    runs: Runs, other: Client, admin: Connection, redis_server: backends.Server
) -> None:
    limit(admin, "runs_per_minute", 2)
    answers = [runs.post(headers) for headers in (BACKGROUND, None, None, BACKGROUND)]
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
    assert runs.client("GET", "/tools").status == 200
    assert other.run(other.agent())
    with Redis(unix_socket_path=redis_server.socket) as redis:
        assert runs.client.caller
        assert redis.pttl(f"ratelimit:{{{runs.client.caller.tenant_id}}}:runs") <= 60_000


def test_what_is_no_run_is_not_counted_as_one(runs: Runs, admin: Connection) -> None:
    limit(admin, "runs_per_minute", 1)
    assert runs.client("POST", f"/agents/{uuid(1)}/run", RUN).status == 403
    assert runs.post(model="none").status == 422
    assert runs.post().status == 200
    assert runs.post().status == 429


def test_while_redis_is_away_no_run_is_let_through_uncounted(
    tenant: Caller, redis_server: backends.Server
) -> None:
    with configured(redis_url=f"unix://{redis_server.socket}.not-there"):
        with pytest.raises(ServiceUnavailable) as away:
            rate_limit.admit_run(tenant, 5)
        assert away.value.details == {"reason": "rate_limiter"}


# ── At once ──────────────────────────────────────────────────────────────────────────────────────


def test_queued_and_running_runs_count_and_others_do_not(
    runs: Runs, other: Client, admin: Connection
) -> None:
    limit(admin, "concurrent_runs", 2)
    for _ in range(2):
        assert runs.post(BACKGROUND).status == 202
    for headers in (None, BACKGROUND):
        refused = runs.post(headers)
        assert (refused.status, refused.error_code) == (429, "TOO_MANY_RUNS")
        assert refused.json["details"] == {"limit": 2}
        assert int(refused.headers["retry-after"]) > 0
    assert other.run(other.agent())
    seen: list[int] = []

    def meanwhile(_: ModelRequest) -> ModelResponse:
        seen.append(runs.post().status)
        return ask_for("guarded")

    runs.model.script = [meanwhile]
    runs.wait(runs.engine.queued[0])
    assert seen == [429]
    runs.model.script = [say()]
    assert runs.post().status == 200, "one that waits for a person takes no room"
    limit(admin, "concurrent_runs", 1)
    assert runs.post().status == 429
    limit(admin, "concurrent_runs", None)
    assert runs.post().status == 200


@pytest.mark.parametrize("headers", [{}, BACKGROUND], ids=["waits", "in the background"])
def test_a_refusal_leaves_nothing_behind(
    runs: Runs, admin: Connection, headers: dict[str, str]
) -> None:
    limit(admin, "concurrent_runs", 1)
    assert runs.post(BACKGROUND).status == 202
    assert runs.post(headers | KEY).status == 429
    assert (count(admin, "executions"), count(admin, "execution_steps")) == (1, 0)
    assert count(admin, "idempotency_keys") == 0
    assert len(runs.engine.queued) == 1
    runs.engine.work(runs.engine.queued.pop())
    first = runs.post(headers | KEY)
    assert (first.status, "idempotency-replayed" in first.headers) == (
        202 if headers else 200,
        False,
    )
    again = runs.post(headers | KEY)
    assert (again.status, again.text) == (first.status, first.text), "though there is no room now"


def send(path: str, client: Client) -> list[int]:
    """Queue five runs."""
    with (
        pytest.MonkeyPatch.context() as patch,
        scripted(patch, Model(say()), Outside()),
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
