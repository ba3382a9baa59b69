"""The history, through the Lambda handler."""

import json
import re
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from functions.executions import history
from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.events import Answer, uuid
from tests.integration.client import Client, ids, refused_fields


def test_a_run_is_in_the_history_as_it_was(client: Client) -> None:
    agent = client.agent("Ann")
    run = client.run(agent)
    client("PUT", f"/agents/{agent['id']}", {"name": "Bob"})
    [entry] = client("GET", "/history").json["items"]
    assert entry == {
        "id": run["execution_id"],
        "agent_id": agent["id"],
        "agent_name": "Ann",
        "model": run["model"],
        "prompt": run["prompt"],
        "response": run["response"],
        "status": "completed",
        "created_at": run["executed_at"],
        "stop_reason": "answered",
        "warning": run["warning"],
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0,
        "steps": 1,
        "started_at": run["executed_at"],
        "finished_at": entry["finished_at"],
        "duration_ms": entry["duration_ms"],
    }
    assert 0 < entry["duration_ms"] < 5000
    assert client("GET", f"/history/{run['execution_id']}").json == entry


def test_the_newest_comes_first(client: Client) -> None:
    agent = client.agent()
    runs = [client.run(agent)["execution_id"] for _ in range(3)]
    assert ids(client("GET", "/history")) == runs[::-1]


def test_an_unknown_id_is_not_found_and_a_malformed_one_refused(client: Client) -> None:
    missing = str(uuid4())
    absent = client("GET", f"/history/{missing}")
    assert (absent.status, absent.error_code) == (404, "EXECUTION_NOT_FOUND")
    assert absent.json["details"] == {"execution_id": missing}
    assert refused_fields(client("GET", "/history/not-an-id")) == {"path.execution_id"}


# ── Filters ──────────────────────────────────────────────────────────────────────────────────────

ANN, BOB = (f"{name}0000000-0000-4000-8000-000000000000" for name in "ab")
ENTRIES = {
    # second of the day, agent, model, status
    "a": (1, ANN, "gpt-4", "completed"),
    "b": (2, ANN, "gpt-4o", "failed"),
    "c": (3, BOB, "gpt-4", "failed"),
    "d": (4, BOB, "gpt-4o", "completed"),
}
DAY = "2024-01-15T00:00:0"


@pytest.fixture
def entries(admin: Connection, tenant: Caller) -> None:
    """Four executions, their prompts a to d, a second apart."""
    for prompt, (second, agent_id, model, status) in ENTRIES.items():
        admin.execute(
            "insert into app.executions"
            " (tenant_id, agent_id, agent_name, model, prompt, status, created_at)"
            " values (%s, %s, 'agent', %s, %s, %s, %s)",
            (tenant.tenant_id, agent_id, model, prompt, status, f"{DAY}{second}Z"),
        )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "dcba"),
        (f"agent_id={ANN}", "ba"),
        (f"agent_id={ANN.upper()}", "ba"),
        (f"agent_id={uuid(1)}", ""),
        ("model=gpt-4", "ca"),
        ("model=gpt-5", ""),
        ("status=failed", "cb"),
        ("status=completed", "da"),
        (f"created_after={DAY}2Z", "dc"),
        (f"created_before={DAY}2Z", "a"),
        (f"created_after={DAY}1.999999Z&created_before={DAY}3Z", "b"),
        (f"created_after={quote('2024-01-15T02:00:02+02:00')}", "dc"),
        (f"created_after={DAY}1Z&status=failed&agent_id={BOB}&model=gpt-4", "c"),
        ("created_after=0001-01-01T00:00:00%2B14:00", "dcba"),
        ("created_before=9999-12-31T23:59:59-14:00", "dcba"),
    ],
)
def test_filters_are_exact_times_exclusive_and_all_combine(
    client: Client, entries: None, query: str, found: str
) -> None:
    page = client("GET", f"/history?{query}&include_total=true".replace("?&", "?")).json
    assert "".join(item["prompt"] for item in page["items"]) == found
    assert page["total"] == len(found)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("agent_id=ann", "agent_id"),
        ("status=done", "status"),
        ("status=", "status"),
        ("model=", "model"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2024-01-15", "created_after"),
        ("created_after=2024-01-15T10:30:00", "created_after"),  # in which time zone?
        ("created_before=1705314600", "created_before"),
        ("created_before=1705-", "created_before"),
        ("created_before=", "created_before"),
        ("agent=ann", "agent"),
    ],
)
def test_an_unfit_filter_is_refused(client: Client, query: str, field: str) -> None:
    assert refused_fields(client("GET", f"/history?{query}")) == {f"query.{field}"}


# ── Export ───────────────────────────────────────────────────────────────────────────────────────

EXPORT = "/history/export"


def fill(admin: Connection, caller: Caller, count: int, response: str = "An answer") -> None:
    """Give a tenant runs, three in each second, older than any that it has."""
    admin.execute(
        "insert into app.executions (tenant_id, agent_id, agent_name, model, prompt, response,"
        " status, created_at) select %s, gen_random_uuid(), 'agent', 'gpt-4', n::text, %s,"
        " 'completed', coalesce((select min(created_at) from app.executions), now())"
        " - n / 3 * interval '1 second' from generate_series(3, %s) n",
        (caller.tenant_id, response, count + 2),
    )


def lines(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    *found, nothing = answer.text.split("\n")
    assert nothing == ""
    return [json.loads(line) for line in found]


def following(answer: Answer) -> str | None:
    """Return the path of the next page as its Link says, or None after the last."""
    if "x-next-cursor" not in answer.headers:
        assert "link" not in answer.headers
        return None
    link = re.fullmatch(r'</live/api/v1(/.*)>; rel="next"', answer.headers["link"])
    assert link
    assert quote(answer.headers["x-next-cursor"]) in link[1]
    return link[1]


def walk(client: Client, path: str) -> list[list[dict[str, Any]]]:
    """Return the lines of every page."""
    pages, after = list[list[dict[str, Any]]](), path
    while after:
        answer = client("GET", after)
        pages.append(lines(answer))
        after = following(answer) or ""
    return pages


def test_a_line_is_the_execution_as_its_id_gives_it(client: Client) -> None:
    agent = client.agent()
    runs = [client.run(agent, prompt="Zwölf\nZeilen \u2028 \x7f")["execution_id"] for _ in range(3)]
    exported = lines(client("GET", EXPORT))
    assert exported == [client("GET", f"/history/{run}").json for run in runs[::-1]]


@pytest.mark.parametrize("limit", [1, 3, 100, 130, 300])
def test_its_pages_have_every_execution_once_in_order_also_while_new_ones_arrive(
    client: Client, admin: Connection, tenant: Caller, stranger: Caller, limit: int
) -> None:
    fill(admin, tenant, 12 if limit < 10 else 301)
    fill(admin, stranger, 5)
    agent = client.agent()
    expected = [
        str(id_)
        for (id_,) in admin.execute(
            "select id from app.executions where tenant_id = %s order by created_at desc, id desc",
            (tenant.tenant_id,),
        )
    ]
    found, after = list[str](), f"{EXPORT}?limit={limit}"
    while after:
        answer = client("GET", after)
        page = [line["id"] for line in lines(answer)]
        assert len(page) == min(limit, len(expected) - len(found))
        found += page
        client.run(agent)
        after = following(answer) or ""
    assert found == expected


def test_a_page_has_100_unless_told_otherwise_and_at_most_1000(
    client: Client, admin: Connection, tenant: Caller
) -> None:
    fill(admin, tenant, 1001)
    assert [len(page) for page in walk(client, f"{EXPORT}?limit=1000")] == [1000, 1]
    assert len(lines(client("GET", EXPORT))) == 100
    for limit in ("0", "1001", "x"):
        assert refused_fields(client("GET", f"{EXPORT}?limit={limit}")) == {"query.limit"}
    for other_ in ("offset", "include_total"):
        assert refused_fields(client("GET", f"{EXPORT}?{other_}=1")) == {f"query.{other_}"}


def test_an_empty_history_is_an_empty_last_page(client: Client) -> None:
    assert walk(client, EXPORT) == [[]]


@pytest.mark.parametrize("letter", ["x", '"', "\x01", "é", "🤖"])
def test_a_page_ends_where_its_answer_would_be_too_large_for_lambda(
    client: Client, admin: Connection, tenant: Caller, letter: str
) -> None:
    fill(admin, tenant, 40, letter * 60_000)
    fill(admin, tenant, 2, "x" * (history.MAX_EXPORT_BYTES + 1))
    after, found = f"{EXPORT}?limit=1000", list[str]()
    while after:
        answer = client("GET", after)
        page = lines(answer)
        found += [line["prompt"] for line in page]
        # In Lambda's own answer it is a text once more, of ASCII with older runtimes.
        assert len(json.dumps(answer.text)) < 4_000_100 or len(page) == 1
        after = following(answer) or ""
    assert len(found) == 42
    assert len(set(found)) == 40


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "dcba"),
        (f"agent_id={ANN}", "ba"),
        ("model=gpt-4", "ca"),
        ("status=failed", "cb"),
        (f"created_after={DAY}1Z&created_before={DAY}4Z", "cb"),
    ],
)
def test_it_takes_the_historys_filters_and_its_pages_keep_them(
    client: Client, entries: None, query: str, found: str
) -> None:
    pages = walk(client, f"{EXPORT}?limit=1&{query}".rstrip("&"))
    assert "".join(line["prompt"] for [line] in pages) == found


def test_a_cursor_with_other_filters_is_refused(client: Client, entries: None) -> None:
    cursor = client("GET", f"{EXPORT}?limit=1").headers["x-next-cursor"]
    for query in ("model=gpt-4", f"created_before={DAY}4Z"):
        refused = client("GET", f"{EXPORT}?cursor={cursor}&{query}")
        assert refused_fields(refused) == {"query.cursor"}
