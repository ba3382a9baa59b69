"""Pages: the same behaviour in every list."""

import base64
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from functions.agents.models import AgentQuery
from functions.executions.models import HistoryQuery
from functions.tools.models import ToolQuery
from mini_agent.http import pagination
from mini_agent.identity.audit import AuditQuery
from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.integration.client import Client, ids, refused_fields

LISTS = ["tools", "agents", "history", "audit"]
NEWEST_FIRST = {"history", "audit"}
TABLES = {"history": "executions", "audit": "audit_log"}
"""The tables of lists that have another name."""
QUERIES: dict[str, type[pagination.PageQuery]] = {
    "tools": ToolQuery,
    "agents": AgentQuery,
    "history": HistoryQuery,
    "audit": AuditQuery,
}
INSERTS = {
    "tools": "insert into app.tools (tenant_id, created_at, id, name, description)"
    " values (%s, %s, %s, gen_random_uuid(), 'tool')",
    "agents": "insert into app.agents (tenant_id, created_at, id, name, role, description)"
    " values (%s, %s, %s, gen_random_uuid(), 'role', 'agent')",
    "history": "insert into app.executions"
    " (tenant_id, created_at, id, agent_id, agent_name, model, prompt, status)"
    " values (%s, %s, %s, gen_random_uuid(), 'agent', 'gpt-4', 'prompt', 'completed')",
    "audit": "insert into app.audit_log"
    " (tenant_id, created_at, id, action, target_type, target_id)"
    " values (%s, %s, %s, 'tool.deleted', 'tool', 'id')",
}
FILTER = {
    "tools": "name=web",
    "agents": "role=spy",
    "history": "model=gpt-4",
    "audit": "target_type=tool",
}
Fill = Callable[..., list[str]]


@pytest.fixture
def fill(admin: Connection, tenant: Caller) -> Fill:
    """Insert items, three a second, in random order; return their ids in the list's order."""

    def insert(room: str, count: int, caller: Caller = tenant) -> list[str]:
        numbers = range(count)
        rows = [
            (caller.tenant_id, datetime(2024, 1, 15, 10, 30, n // 3, 123456, UTC), UUID(int=n))
            for n in numbers
        ]
        for row in sorted(rows, key=lambda row: hash(row[2])):
            admin.execute(INSERTS[room], row)
        in_order = [str(row[2]) for row in rows]
        return in_order[::-1] if room in NEWEST_FIRST else in_order

    return insert


def walk(client: Client, path: str) -> list[list[str]]:
    """Return the ids of every page, from the first to the last."""
    pages, cursor = [], ""
    for _ in range(20):
        answer = client("GET", path + cursor)
        pages.append(ids(answer))
        if not answer.json["has_more"]:
            assert answer.json["next_cursor"] is None
            return pages
        cursor = f"&cursor={answer.json['next_cursor']}"
    raise AssertionError("there is always one more page")


@pytest.mark.parametrize("limit", [1, 2, 5, 10, 11, 100])
@pytest.mark.parametrize("room", LISTS)
def test_pages_put_together_have_every_item_once_ordered_by_time_then_id(
    client: Client, fill: Fill, room: str, limit: int
) -> None:
    items = fill(room, 10)
    pages = walk(client, f"/{room}?limit={limit}")
    assert pages == [items[start : start + limit] for start in range(0, 10, limit)]


@pytest.mark.parametrize("room", LISTS)
def test_a_page_has_20_items_unless_told_otherwise_and_at_most_100(
    client: Client, fill: Fill, room: str
) -> None:
    items = fill(room, 101)
    assert ids(client("GET", f"/{room}")) == items[:20]
    assert ids(client("GET", f"/{room}?limit=100")) == items[:100]


@pytest.mark.parametrize("room", LISTS)
def test_an_empty_list_is_a_last_page(client: Client, room: str) -> None:
    assert client("GET", f"/{room}").json == {"items": [], "has_more": False, "next_cursor": None}


@pytest.mark.parametrize("room", LISTS)
def test_items_that_come_and_go_meanwhile_neither_repeat_nor_hide_others(
    client: Client, admin: Connection, tenant: Caller, fill: Fill, room: str
) -> None:
    items = fill(room, 4)
    first = client("GET", f"/{room}?limit=2").json
    admin.execute(
        f"delete from app.{TABLES.get(room, room)} where id = any (%s)", ([items[0], items[1]],)
    )
    earlier = datetime(2024, 1, 16 if room in NEWEST_FIRST else 14, tzinfo=UTC)
    admin.execute(INSERTS[room], (tenant.tenant_id, earlier, UUID(int=99)))
    assert ids(client("GET", f"/{room}?limit=2&cursor={first['next_cursor']}")) == items[2:]


@pytest.mark.parametrize("room", LISTS)
def test_the_total_is_there_only_when_asked_for_and_counts_every_page(
    client: Client, stranger: Caller, fill: Fill, room: str
) -> None:
    fill(room, 3)
    fill(room, 5, stranger)
    assert "total" not in client("GET", f"/{room}?include_total=false").json
    first = client("GET", f"/{room}?limit=1&include_total=true").json
    assert first["total"] == 3
    cursor = first["next_cursor"]
    second = client("GET", f"/{room}?limit=1&include_total=true&cursor={cursor}").json
    assert second["total"] == 3
    assert client("GET", f"/{room}?offset=7&include_total=true").json["total"] == 3


def test_the_total_counts_what_the_filters_leave(client: Client) -> None:
    web, mail = client.tool("web"), client.tool("mail")
    client.agent("Ann", role="spy", tool_ids=[web["id"]])
    client.agent("Bob", role="spy", tool_ids=[mail["id"]])
    for query, total in (
        ("/tools?name=web", 1),
        ("/tools?agent_name=Ann", 1),
        ("/agents?name=Bob", 1),
        ("/agents?role=spy", 2),
        ("/agents?tool_name=web", 1),
        ("/agents?tool_name=web&name=Bob", 0),
    ):
        page_ = client("GET", f"{query}&include_total=true").json
        assert (page_["total"], len(page_["items"])) == (total, total)


@pytest.mark.parametrize("room", LISTS)
def test_an_offset_skips_items_up_to_10_000(client: Client, fill: Fill, room: str) -> None:
    items = fill(room, 5)
    assert ids(client("GET", f"/{room}?offset=3")) == items[3:]
    page_ = client("GET", f"/{room}?offset=1&limit=2").json
    assert [item["id"] for item in page_["items"]] == items[1:3]
    assert ids(client("GET", f"/{room}?limit=2&cursor={page_['next_cursor']}")) == items[3:]
    assert ids(client("GET", f"/{room}?offset=10000")) == []
    assert refused_fields(client("GET", f"/{room}?offset=10001")) == {"query.offset"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=abc", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=1e999", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("offset=-1", "offset"),
        ("offset=x", "offset"),
        ("include_total=maybe", "include_total"),
        ("page=2", "page"),
        ("name=%00", "name"),
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("room", LISTS)
def test_an_unfit_parameter_is_refused(client: Client, room: str, query: str, field: str) -> None:
    assert refused_fields(client("GET", f"/{room}?{query}")) == {f"query.{field}"}


# ── Cursors ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("room", LISTS)
def test_a_cursor_is_of_one_tenant_one_list_and_its_filters_but_of_any_limit(
    client: Client, other: Client, stranger: Caller, fill: Fill, room: str
) -> None:
    items = fill(room, 5)
    fill(room, 5, stranger)
    cursor = client("GET", f"/{room}?limit=2").json["next_cursor"]
    assert ids(client("GET", f"/{room}?limit=1&cursor={cursor}")) == items[2:3]
    elsewhere = next(name for name in LISTS if name != room)
    for refused in (
        other("GET", f"/{room}?cursor={cursor}"),
        client("GET", f"/{elsewhere}?cursor={cursor}"),
        client("GET", f"/{room}?cursor={cursor}&{FILTER[room]}"),
        client("GET", f"/{room}?cursor={cursor}&include_total=true&{FILTER[room]}"),
    ):
        assert refused_fields(refused) == {"query.cursor"}


@pytest.mark.parametrize("room", LISTS)
def test_a_cursor_and_an_offset_do_not_go_together(client: Client, fill: Fill, room: str) -> None:
    items = fill(room, 3)
    cursor = client("GET", f"/{room}?limit=2").json["next_cursor"]
    both = client("GET", f"/{room}?cursor={cursor}&offset=1")
    assert refused_fields(both) == {"query.offset"}
    assert ids(client("GET", f"/{room}?cursor={cursor}&offset=0")) == items[2:]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "AAAA", "A" * 43, "A" * 44, "A" * 10_000, "%00", "%F0%9F%A4%96", "%FF", "..%2F.."],
    ids=lambda cursor: cursor[:20] or "empty",
)
@pytest.mark.parametrize("room", LISTS)
def test_a_text_that_is_no_cursor_is_refused(client: Client, room: str, cursor: str) -> None:
    assert refused_fields(client("GET", f"/{room}?cursor={cursor}")) == {"query.cursor"}


@pytest.mark.parametrize("microseconds", [2**63 - 1, -(2**63), 253402300800_000_000])
@pytest.mark.parametrize("room", LISTS)
def test_a_forged_cursor_to_a_time_that_cannot_be_is_refused(
    client: Client, tenant: Caller, room: str, microseconds: int
) -> None:
    filters: dict[str, Any] = QUERIES[room]().filters()
    position = struct.pack(">q16s", microseconds, UUID(int=0).bytes)
    checksum = pagination.Cursors(tenant, room, filters)._checksum(position)
    cursor = base64.urlsafe_b64encode(position + checksum).decode()
    assert refused_fields(client("GET", f"/{room}?cursor={cursor}")) == {"query.cursor"}
