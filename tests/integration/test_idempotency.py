"""`Idempotency-Key`, through the Lambda handlers."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest
from starlette.responses import Response

from functions.tools.models import ToolCreate
from mini_agent.data import db
from mini_agent.http import idempotency
from mini_agent.identity.callers import Caller
from tests.conftest import Connection, MakeTenant
from tests.databases import configured, enter
from tests.events import Answer, uuid
from tests.fakes import FakeOpenAI, say
from tests.integration.client import AGENT, RUN, TOOL, Client, refused_fields
from tests.integration.sandboxes import at_once

KEY = {"Idempotency-Key": "key-1"}
OF_ONE_REQUEST = {"x-request-id", "x-ratelimit-remaining", "ratelimit"}
OF_A_REPLAY = {"idempotency-replayed": "true"}


def comparable(answer: Answer) -> tuple[int, dict[str, str], str]:
    """Return what two responses to the same request have in common."""
    headers = {name: v for name, v in answer.headers.items() if name not in OF_ONE_REQUEST}
    return answer.status, headers, answer.text


def replayed(first: Answer) -> tuple[int, dict[str, str], str]:
    """Return what a client gets that sends a request again."""
    status, headers, text = comparable(first)
    return status, headers | OF_A_REPLAY, text


def count(admin: Connection, table: str) -> int:
    [found] = admin.execute(f"select count(*) from app.{table}").fetchone() or [0]
    return int(found)


@pytest.fixture
def key() -> idempotency.IdempotencyKey:
    return idempotency.IdempotencyKey("POST /somewhere", "key-1", b"body")


class Made:
    """A row; tests only need its name."""

    def __init__(self, name: str, **_: object) -> None:
        self.name = name


CREATE_TOOL = db.Query("tools/create", ToolCreate(**TOOL).model_dump(), Made)


# ── The same request ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("path", "body"), [("/tools", TOOL), ("/agents", AGENT)])
def test_a_request_sent_again_gets_its_first_answer_and_has_no_second_effect(
    client: Client, admin: Connection, path: str, body: dict[str, Any]
) -> None:
    first = client("POST", path, body, KEY)
    assert (first.status, "idempotency-replayed" in first.headers) == (201, False)
    for _ in range(2):
        again = client("POST", path, body, {"IDEMPOTENCY-KEY": "key-1"})
        assert comparable(again) == replayed(first)
    assert count(admin, path.removeprefix("/")) == 1
    assert client("GET", first.headers["location"].removeprefix("/live")).json == first.json


def test_the_first_answer_comes_again_even_when_its_effect_is_gone(client: Client) -> None:
    first = client("POST", "/tools", TOOL, KEY)
    assert client("DELETE", f"/tools/{first.json['id']}").status == 204
    assert comparable(client("POST", "/tools", TOOL, KEY)) == replayed(first)
    assert client("GET", "/tools").json["items"] == []


def test_another_key_or_none_is_another_request(client: Client) -> None:
    assert client("POST", "/tools", TOOL, KEY).status == 201
    for headers in ({}, {"Idempotency-Key": "key-2"}, {"Idempotency-Key": "KEY-1"}):
        assert client("POST", "/tools", TOOL, headers).error_code == "DUPLICATE_TOOL_NAME"


def test_a_body_that_differs_in_one_byte_is_refused_and_changes_nothing(
    client: Client, admin: Connection
) -> None:
    first = client("POST", "/tools", TOOL, KEY)
    bodies: list[object] = [TOOL | {"name": "net"}, f"{first.text} ", {}]
    for body in bodies:
        refused = client("POST", "/tools", body, KEY)
        assert (refused.status, refused.error_code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert count(admin, "tools") == 1
    assert comparable(client("POST", "/tools", TOOL, KEY)) == replayed(first)


def test_the_key_of_another_item_is_refused(client: Client, admin: Connection) -> None:
    assert client.caller
    for number in (1, 2):
        admin.execute(
            "insert into app.executions"
            " (tenant_id, id, agent_id, agent_name, model, prompt, status)"
            " values (%s, %s, %s, 'Ann', 'gpt-4', 'Hi', 'queued')",
            (client.caller.tenant_id, uuid(number), uuid(3)),
        )
    first = client("POST", f"/executions/{uuid(1)}/cancel", None, KEY)
    assert (first.status, first.json["status"]) == (200, "cancelled")
    refused = client("POST", f"/executions/{uuid(2)}/cancel", None, KEY)
    assert (refused.status, refused.error_code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert client("GET", f"/executions/{uuid(2)}").json["status"] == "queued"
    assert comparable(client("POST", f"/executions/{uuid(1)}/cancel", None, KEY)) == replayed(first)


def test_another_route_and_another_tenant_know_nothing_of_a_key(
    client: Client, other: Client
) -> None:
    answers = [
        client("POST", "/tools", TOOL, KEY),
        client("POST", "/agents", AGENT, KEY),
        other("POST", "/tools", TOOL, KEY),
    ]
    assert [answer.status for answer in answers] == [201] * 3
    assert not [answer for answer in answers if "idempotency-replayed" in answer.headers]
    assert len({answer.json["id"] for answer in answers}) == 3


def test_after_24_hours_a_key_is_free_for_any_request(client: Client, admin: Connection) -> None:
    first = client("POST", "/tools", TOOL, KEY)
    age = "update app.idempotency_keys set created_at = now() - interval '24 hours' + %s::interval"
    admin.execute(age, ("1 minute",))
    assert comparable(client("POST", "/tools", TOOL, KEY)) == replayed(first)
    admin.execute(age, ("-1 second",))
    second = client("POST", "/tools", TOOL | {"name": "net"}, KEY)
    assert (second.status, second.json["name"]) == (201, "net")
    assert comparable(client("POST", "/tools", TOOL | {"name": "net"}, KEY)) == replayed(second)


def test_only_a_post_asks_for_its_key(client: Client, admin: Connection) -> None:
    tool = client.tool()
    for method, body in (("GET", None), ("PUT", {"name": "net"}), ("PUT", {"name": "new"})):
        answer = client(method, f"/tools/{tool['id']}", body, KEY)
        assert (answer.status, "idempotency-replayed" in answer.headers) == (200, False)
    assert client("GET", "/tools", None, {"Idempotency-Key": "un fit"}).status == 200
    assert count(admin, "idempotency_keys") == 0


@pytest.mark.parametrize("unfit", ["", " ", "a b", "é", "a" * 256, "a\t", "\x7f"], ids=ascii)
def test_an_unfit_key_is_refused(client: Client, unfit: str) -> None:
    refused = client("POST", "/tools", TOOL, {"Idempotency-Key": unfit})
    assert refused_fields(refused) == {"header.Idempotency-Key"}
    assert client("GET", "/tools").json["items"] == []


@pytest.mark.parametrize("fit", ["!", '"8e03978e-40d5"', "~" * 255])
def test_a_key_may_be_255_visible_characters(client: Client, fit: str) -> None:
    first = client("POST", "/tools", TOOL, {"Idempotency-Key": fit})
    assert first.status == 201
    assert comparable(client("POST", "/tools", TOOL, {"Idempotency-Key": fit})) == replayed(first)


def test_a_stored_answer_is_told_to_no_key_that_may_not_do_the_same(
    client: Client, make_tenant: MakeTenant, admin: Connection
) -> None:
    assert client.caller
    client("POST", "/tools", TOOL, KEY)
    caller = client.caller
    reader = Caller(caller.tenant_id, caller.key_id, frozenset({"tools:read"}), 100)
    refused = Client(reader)("POST", "/tools", TOOL, KEY)
    assert (refused.status, refused.error_code) == (403, "INSUFFICIENT_SCOPE")
    admin.execute("update app.api_keys set revoked_at = now()")
    assert client("POST", "/tools", TOOL, KEY).error_code == "INVALID_API_KEY"


# ── What is not kept ─────────────────────────────────────────────────────────────────────────────


def test_an_answer_that_is_an_error_is_not_kept(client: Client, admin: Connection) -> None:
    tool = client.tool()
    refusals: list[tuple[str, object, dict[str, str], int]] = [
        ("/tools", TOOL, {}, 409),
        ("/tools", {}, {}, 422),
        ("/tools", "{", {"Content-Type": "application/json"}, 422),
        ("/tools", "x", {"Content-Type": "text/plain"}, 415),
        ("/agents", AGENT | {"tool_ids": [str(uuid(1))]}, {}, 403),
        (f"/executions/{uuid(1)}/cancel", None, {}, 404),
    ]
    for path, body, headers, status in refusals:
        assert client("POST", path, body, headers | KEY).status == status
    assert count(admin, "idempotency_keys") == count(admin, "agents") == 0
    client("DELETE", f"/tools/{tool['id']}")
    assert client("POST", "/tools", TOOL, KEY).status == 201


def test_an_error_that_a_route_answers_itself_is_not_kept_either(
    tenant: Caller, admin: Connection, key: idempotency.IdempotencyKey
) -> None:
    async def refuse() -> Response:
        db.write(tenant, CREATE_TOOL)
        return Response(status_code=400)

    with closing(asyncio.new_event_loop()) as loop:
        answer = loop.run_until_complete(idempotency.once(tenant, key, refuse))
    assert answer.status_code == 400
    assert count(admin, "tools") == count(admin, "idempotency_keys") == 0


@contextmanager
def backend_dies(admin: Connection, when: str) -> Iterator[None]:
    """Cut the connection as the response is stored, after the effect."""
    admin.execute(
        "create function app.die() returns trigger language plpgsql"
        " as $$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
    )
    admin.execute(
        f"create {when} on app.idempotency_keys {'deferrable initially deferred' * ('c' in when)}"
        " for each row execute function app.die()"
    )
    try:
        yield
    finally:
        admin.execute("drop function app.die cascade")


@pytest.mark.parametrize(
    "when",
    ["trigger die after update", "constraint trigger die after update"],
    ids=["before the commit", "in the commit"],
)
def test_a_crash_between_effect_and_commit_leaves_neither_effect_nor_answer(
    client: Client, admin: Connection, when: str
) -> None:
    with backend_dies(admin, when):
        lost = client("POST", "/tools", TOOL, KEY)
    assert (lost.status, lost.error_code) == (503, "SERVICE_UNAVAILABLE")
    assert count(admin, "tools") == count(admin, "idempotency_keys") == 0
    again = client("POST", "/tools", TOOL, KEY)
    assert (again.status, "idempotency-replayed" in again.headers) == (201, False)


def test_a_connection_that_was_lost_while_the_sandbox_slept_costs_no_request(
    client: Client, admin: Connection
) -> None:
    client.tool("before")
    admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename='map_api'")
    assert client("POST", "/tools", TOOL, KEY).status == 201


def test_a_refusal_of_the_database_leaves_the_connection_to_the_next_request(
    client: Client, admin: Connection
) -> None:
    client.tool()
    assert client("POST", "/tools", TOOL, KEY).status == 409
    assert db.Transaction.current() is None
    open_ones = "select from pg_stat_activity where usename = 'map_api' and state <> 'idle'"
    assert admin.execute(open_ones).rowcount == 0
    client.tool("net")
    assert count(admin, "tools") == 2


# ── Routes with their own transactions ───────────────────────────────────────────────────────────


def test_a_route_with_its_own_transactions_claims_a_key_beside_its_effect(
    tenant: Caller, admin: Connection, key: idempotency.IdempotencyKey
) -> None:
    def begin(number: int) -> idempotency.StoredResponse | None:
        with db.Transaction() as transaction:
            stored = idempotency.claim(tenant, key, uuid(number))
            if stored is None:
                assert transaction.commit(tenant, CREATE_TOOL)[0].name
            return stored

    assert begin(1) is None
    stored = begin(2)
    assert stored
    assert (stored.execution_id, stored.status) == (uuid(1), None)
    assert count(admin, "tools") == 1


# ── At once ──────────────────────────────────────────────────────────────────────────────────────


ReceivedResponse = tuple[int, str, str, bool]


def send(path: str, body: Mapping[str, str], client: Client) -> ReceivedResponse:
    while (answer := client("POST", path, body, KEY)).status == 409:
        time.sleep(int(answer.headers["retry-after"]))  # may let a twin wait too long
    replayed = "idempotency-replayed" in answer.headers
    return answer.status, answer.headers.get("location", ""), answer.text, replayed


def send_at_once(caller: Caller, path: str, body: Mapping[str, str]) -> list[ReceivedResponse]:
    """Return the responses of 100 sandboxes: all equal, and all but one replayed."""
    got = at_once(100, caller, partial(send, path, body))
    assert len({(status, location, text) for status, location, text, _ in got}) == 1
    assert sorted(again for *_, again in got) == [False] + [True] * 99
    return got


def test_100_sandboxes_that_get_the_same_request_at_once_make_one_tool_and_give_equal_answers(
    tenant: Caller, admin: Connection
) -> None:
    [(status, *_), *_] = send_at_once(tenant, "/tools", TOOL)
    assert status == 201
    assert count(admin, "tools") == count(admin, "idempotency_keys") == 1


def test_100_sandboxes_that_get_the_same_run_at_once_ask_the_provider_once(
    make_tenant: MakeTenant, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = make_tenant(requests_per_minute=10_000)
    agent = Client(caller).agent()
    with FakeOpenAI([say("The answer")]) as fake:
        providers = {"openai": {"api_key": "key", "base_url": f"{fake.url}/v1"}}
        monkeypatch.setenv("MAP_PROVIDERS", json.dumps(providers))
        [(status, _, text, _), *_] = send_at_once(caller, f"/agents/{agent['id']}/run", RUN)
    assert (status, json.loads(text)["response"]) == (200, "The answer")
    assert len(fake.requests) == count(admin, "executions") == 1
    assert count(admin, "idempotency_keys") == 1


def test_a_request_whose_twin_is_at_work_for_long_is_told_to_come_back(
    client: Client, admin: Connection
) -> None:
    assert client.caller
    admin.execute("alter role map_api in database map set lock_timeout = '50ms'")
    try:
        with configured(), admin.transaction():
            enter(admin, client.caller)
            admin.execute(
                "insert into app.idempotency_keys (route, key, fingerprint)"
                " values ('POST /api/v1/tools', 'key-1', '')"
            )
            busy = client("POST", "/tools", TOOL, KEY)
    finally:
        admin.execute("alter role map_api in database map reset lock_timeout")
    assert (busy.status, busy.error_code) == (409, "IDEMPOTENCY_KEY_IN_USE")
    assert busy.headers["retry-after"] == "1"
