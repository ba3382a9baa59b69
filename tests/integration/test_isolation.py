"""What another tenant has is, for every operation and every way to name it, as if it were nowhere.

Each place of the OpenAPI document where a request can name something (a path or query parameter, a
field of a body) has an entry in PLACES. Each is tried with a value of the tenant's own, one of
another tenant, and one of nobody: the last two answers differ in the value alone.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from scripts import openapi
from tests.conftest import Connection
from tests.databases import configured
from tests.events import Answer
from tests.integration.client import AGENT, RUN, Client

NAMES_NOTHING = {
    *("limit", "offset", "include_total", "status", "created_after", "created_before"),
    *("stop_reason", "min_cost_usd", "min_duration_ms", "prefer", "last-event-id", "step"),
    *("action", "target_type"),
    "Idempotency-Key",  # a header: test_idempotency.py
}
OPERATORS = "/api/v1/admin/"
"""No tenant's: test_admin_access.py."""
OF_ONE_REQUEST = {"x-request-id", "x-ratelimit-remaining", "ratelimit"}
TABLES = (
    *("tools", "agents", "agent_tools", "executions", "execution_steps", "secrets", "api_keys"),
)
MAKES = {("put", "/secrets/{name}", "name")}
"""Makes what it names: test_a_name_that_another_tenant_has_is_free."""

Place = tuple[str, str, str]  # method, path, and the parameter or field


@dataclass(frozen=True)
class Case:
    """What a place names, the rest of a request that is otherwise right, and the answers to it."""

    kind: str
    own: int
    other: int
    body: dict[str, Any] | None = field(default=None)
    query: str = ""


def listing(path: str, **kinds: str) -> dict[Place, Case]:
    """The filters of a list find nothing of others; a cursor of others is no cursor."""
    filters: dict[Place, Case] = {
        ("get", path, name): Case(kind, 200, 200, query=f"?include_total=true&{name}={{}}")
        for name, kind in kinds.items()
    }
    cursor = Case(f"cursor of {path}", 200, 422, query="?limit=1&cursor={}")
    return filters | {("get", path, "cursor"): cursor}


TOOL, AGENT_, EXECUTION = "/tools/{tool_id}", "/agents/{agent_id}", "/history/{execution_id}"
RUN_, KEY = "/executions/{execution_id}", "/keys/{key_id}"
PLACES: dict[Place, Case] = {
    ("get", TOOL, "tool_id"): Case("tool", 200, 404),
    ("put", TOOL, "tool_id"): Case("tool", 200, 404, {"description": "New"}),
    ("delete", TOOL, "tool_id"): Case("tool", 204, 404),
    ("post", "/agents", "tool_ids"): Case("tool", 201, 403, AGENT | {"name": "New"}),
    ("get", AGENT_, "agent_id"): Case("agent", 200, 404),
    ("put", AGENT_, "agent_id"): Case("agent", 200, 404, {"tool_ids": []}),
    ("put", AGENT_, "tool_ids"): Case("tool", 200, 403, {}),
    ("delete", AGENT_, "agent_id"): Case("agent", 204, 404),
    ("post", f"{AGENT_}/run", "agent_id"): Case("agent", 200, 403, RUN),
    ("get", EXECUTION, "execution_id"): Case("execution", 200, 404),
    ("get", RUN_, "execution_id"): Case("execution", 200, 404),
    ("get", f"{RUN_}/steps", "execution_id"): Case("execution", 200, 404),
    ("get", f"{RUN_}/events", "execution_id"): Case("execution", 200, 404),
    ("post", f"{RUN_}/cancel", "execution_id"): Case("execution", 409, 404),
    ("post", f"{RUN_}/approvals/{{step}}", "execution_id"): Case(
        "execution", 404, 404, {"decision": "approve"}
    ),
    ("get", "/history/export", "agent_id"): Case("agent", 200, 200, query="?agent_id={}"),
    ("get", "/history/export", "model"): Case("model", 200, 200, query="?model={}"),
    ("get", "/history/export", "cursor"): Case(
        "cursor of /history", 200, 422, query="?limit=1&cursor={}"
    ),
    ("get", "/usage", "agent_id"): Case("agent", 200, 200, query="?agent_id={}"),
    ("get", "/usage", "model"): Case("model", 200, 200, query="?model={}"),
    ("delete", "/secrets/{name}", "name"): Case("secret", 204, 404),
    ("get", KEY, "key_id"): Case("key", 200, 404),
    ("post", f"{KEY}/rotate", "key_id"): Case("key", 201, 404, {}),
    ("delete", KEY, "key_id"): Case("key", 204, 404),
    **listing("/keys", name="key_name"),
    **listing("/secrets"),
    **listing("/tools", name="tool_name", agent_name="agent_name"),
    **listing("/agents", name="agent_name", role="role", tool_name="tool_name"),
    **listing("/history", agent_id="agent", model="model"),
    **listing("/audit", key_id="caller_key", target_id="agent"),
}


def places(document: dict[str, Any]) -> Iterator[Place]:
    """Yield every place of a document where a tenant can name something."""
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not operation["security"] or path.startswith(OPERATORS):
                continue
            parameters = operation.get("parameters", [])
            names = [openapi.resolve(parameter, document)["name"] for parameter in parameters]
            if "requestBody" in operation:
                [content] = operation["requestBody"]["content"].values()
                body = schemas[content["schema"]["$ref"].rpartition("/")[2]]
                names += [name for name, of in body["properties"].items() if "uuid" in str(of)]
            for name in set(names) - NAMES_NOTHING:
                yield method, path.removeprefix("/api/v1"), name


@dataclass(frozen=True)
class Having:
    """A client and what its tenant has of each kind; the tool is in no agent's use."""

    client: Client
    of: dict[str, str]


def furnished(client: Client, name: str, model: str) -> Having:
    tool, used = client.tool(f"{name}'s tool"), client.tool(f"{name}'s other tool")
    agent = client.agent(f"{name}'s agent", role=f"{name}'s role", tool_ids=[used["id"]])
    client.agent(f"{name}'s other agent")
    runs = [client.run(agent, model=model) for _ in range(2)]
    for secret in (str(uuid4()), str(uuid4())):  # as long as nobody's: answers tell their length
        assert client("PUT", f"/secrets/{secret}", {"value": "value"}).status == 200
    key = client("POST", "/keys", {"name": f"{name}'s key", "scopes": ["tools:read"]}).json
    cursors = {
        f"cursor of {path}": client("GET", f"{path}?limit=1").json["next_cursor"]
        for path in ("/tools", "/agents", "/history", "/secrets", "/keys", "/audit")
    }
    assert client.caller
    return Having(
        client,
        cursors
        | {
            "tool": tool["id"],
            "tool_name": used["name"],
            "agent": agent["id"],
            "agent_name": agent["name"],
            "role": agent["role"],
            "execution": runs[0]["execution_id"],
            "model": model,
            "secret": secret,
            "key": key["id"],
            "key_name": key["name"],
            "caller_key": str(client.caller.key_id),
        },
    )


@pytest.fixture(autouse=True)
def sealing() -> Iterator[None]:
    with configured(secrets_key="local:" + base64.urlsafe_b64encode(bytes(32)).decode()):
        yield


@pytest.fixture
def own(client: Client) -> Having:
    return furnished(client, "own", "gpt-4o")


@pytest.fixture
def foreign(other: Client) -> Having:
    return furnished(other, "foreign", "gpt-4")


def nobodys(kind: str) -> str:
    if kind.startswith("cursor"):
        return base64.urlsafe_b64encode(uuid4().bytes * 2).decode()
    return str(uuid4())


def ask(having: Having, place: Place, value: str) -> Answer:
    """Send a place's request with a value in that place and the tenant's own in all others."""
    method, path, name = place
    case = PLACES[place]
    ids = {f"{kind}_id": having.of[kind] for kind in ("tool", "agent", "execution", "key")}
    body = case.body
    if name == "tool_ids":
        body = {**(body or {}), name: [value, having.of["tool"]]}
    path = path.format(**ids | {"step": "1", name: value}) + case.query.format(value)
    return having.client(method.upper(), path, body)


def told(answer: Answer, value: str) -> tuple[int, dict[str, str], str]:
    """What a client is told, but for what it sent and what belongs to one request."""
    headers = {name: v for name, v in answer.headers.items() if name not in OF_ONE_REQUEST}
    return answer.status, headers, answer.text.replace(value, "…")


def rows(admin: Connection, client: Client) -> list[Any]:
    assert client.caller
    return [
        admin.execute(
            f"select * from app.{table} t where tenant_id = %s order by t::text",
            (client.caller.tenant_id,),
        ).fetchall()
        for table in TABLES
    ]


def test_every_place_where_a_request_can_name_something_is_tried() -> None:
    assert set(places(openapi.document())) == PLACES.keys() | MAKES


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_what_another_tenant_has_is_answered_like_what_nobody_has(
    own: Having, foreign: Having, admin: Connection, place: Place
) -> None:
    case = PLACES[place]
    before = rows(admin, own.client), rows(admin, foreign.client)

    theirs = ask(own, place, foreign.of[case.kind])
    unknown = nobodys(case.kind)

    assert theirs.status == case.other
    assert theirs.status >= 400 or foreign.of[case.kind] not in theirs.text
    assert told(theirs, foreign.of[case.kind]) == told(ask(own, place, unknown), unknown)
    assert (rows(admin, own.client), rows(admin, foreign.client)) == before


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_the_same_request_works_with_what_the_tenant_has_itself(
    own: Having, foreign: Having, admin: Connection, place: Place
) -> None:
    case = PLACES[place]
    before = rows(admin, foreign.client)

    answer = ask(own, place, own.of[case.kind])

    assert answer.status == case.own
    if "include_total" in case.query:
        assert answer.json["total"] == len(answer.json["items"]) > 0
    assert rows(admin, foreign.client) == before


def test_a_list_without_filters_has_nothing_of_another_tenant(own: Having, foreign: Having) -> None:
    theirs = set(foreign.of.values()) - {foreign.of["model"]}
    for path in ("/tools", "/agents", "/history", "/secrets", "/keys", "/audit"):
        page = own.client("GET", f"{path}?limit=100&include_total=true")
        assert page.json["total"] == len(page.json["items"]) == (8 if path == "/audit" else 2)
        assert not [value for value in theirs if value in page.text]


def test_a_name_that_another_tenant_has_is_free(own: Having, foreign: Having) -> None:
    own.client.tool(foreign.of["tool_name"])
    own.client.agent(foreign.of["agent_name"])
    renamed = own.client("PUT", f"/tools/{own.of['tool']}", {"name": "foreign's tool"})
    assert renamed.status == 200
    before = foreign.client("GET", "/secrets").json
    mine = own.client("PUT", f"/secrets/{foreign.of['secret']}", {"value": "mine"})
    assert (mine.status, mine.json["name"]) == (200, foreign.of["secret"])
    assert mine.json["created_at"] == mine.json["updated_at"]
    assert foreign.client("GET", "/secrets").json == before
