"""Which key may do what: every operation, every scope, every state that a key can be in.

The operations, their parameters and their bodies come from the OpenAPI document. Keys go through
the authorizer, and what it tells goes with every request, as API Gateway keeps it.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from local import backends
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from scripts import openapi
from tests.conftest import Connection
from tests.databases import configured
from tests.events import Answer
from tests.integration.client import Client, identified

DOCUMENT = openapi.document()
PUBLIC = {"GET /health", "GET /ready"}
WITHOUT_DATABASE = {"GET /api/v1/models"}
"""What a key that has just ended may still read, while API Gateway keeps the authorizer's word."""

SCOPES = (*api_keys.SCOPES, api_keys.OPERATOR_SCOPE)
HERE, ELSEWHERE = uuid4(), uuid4()
LIVING = ("own", "foreign", "operator's", "in its overlap")
ENDED = ("revoked", "expired", "after its overlap")


@dataclass(frozen=True)
class Holder:
    """A key by what it is and the one scope that it has."""

    kind: str
    scope: str

    @property
    def tenant_id(self) -> UUID:
        if self.kind == "operator's" or self.scope == api_keys.OPERATOR_SCOPE:
            return api_keys.PLATFORM
        return ELSEWHERE if self.kind == "foreign" else HERE


HOLDERS = [
    Holder(kind, scope)
    for kind in (*LIVING, *ENDED)
    for scope in SCOPES
    if scope != api_keys.OPERATOR_SCOPE
    or kind not in {"own", "foreign"}  # which no tenant can have
]


@dataclass(frozen=True)
class Operation:
    """An operation as the document has it."""

    method: str
    path: str
    told: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def scopes(self) -> list[str]:
        return [s for of in self.told.get("security", []) for all_ in of.values() for s in all_]

    @property
    def names(self) -> dict[str, Any]:
        """The parameters that its path needs, each with its schema."""
        return {p["name"]: p["schema"] for p in self.parameters if p["in"] == "path"}

    @property
    def parameters(self) -> list[dict[str, Any]]:
        return [openapi.resolve(p, DOCUMENT) for p in self.told["parameters"]]

    def declares(self, answer: Answer) -> bool:
        declared = openapi.resolve(self.told["responses"].get(str(answer.status), {}), DOCUMENT)
        content = declared.get("content", {}).get("application/json", {})
        return bool(declared) and (
            answer.status < 400 or answer.error_code in content.get("examples", {})
        )


OPERATIONS = [
    Operation(method.upper(), path, {"parameters": [], **operation})
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
guarded = pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if str(o) not in PUBLIC], ids=str
)


@dataclass(frozen=True)
class World:
    """Two tenants and the platform: a client for each that may do everything, and all the keys."""

    here: Client
    platform: Client
    before: dict[Holder, Caller]
    """What the authorizer told of the keys while all of them were good."""
    now: dict[Holder, Caller | None]


def made(admin: Connection, tenant_id: UUID, *scopes: str) -> tuple[str, str]:
    """Return a new key of a tenant, and its id."""
    key, fields = api_keys.issue()
    admin.execute(
        "insert into app.api_keys (tenant_id, name, scopes, id, digest, pepper_version, prefix,"
        " last_four) values (%s, 'matrix', %s, %s, %s, %s, %s, %s)",
        (tenant_id, list(scopes), *fields.values()),
    )
    return key, str(fields["id"])


@pytest.fixture(scope="module")
def world(
    postgres: backends.Server, redis_server: backends.Server, admin: Connection
) -> Iterator[World]:
    for tenant_id in (HERE, ELSEWHERE, api_keys.PLATFORM):
        admin.execute(
            "insert into app.tenants (id, name, requests_per_minute) values (%s, 'matrix', 1000000)"
            " on conflict (id) do update set requests_per_minute = 1000000",
            (tenant_id,),
        )
    roots = [
        made(admin, HERE, *api_keys.SCOPES)[0],
        made(admin, api_keys.PLATFORM, *SCOPES)[0],
    ]
    held = {holder: made(admin, holder.tenant_id, holder.scope) for holder in HOLDERS}
    with configured(secrets_key="local:" + base64.urlsafe_b64encode(bytes(32)).decode()):
        texts = [key for key, _ in held.values()]
        here, platform, *before = [c for c in identified(*roots, *texts) if c]
        clients = Client(here), Client(platform)
        for holder, (_, key_id) in held.items():
            keeper = clients[holder.tenant_id == api_keys.PLATFORM]
            match holder.kind:
                case "revoked":
                    assert keeper("DELETE", f"/keys/{key_id}").status == 204
                case "expired":
                    admin.execute(
                        "update app.api_keys set expires_at = now() where id = %s", (key_id,)
                    )
                case "in its overlap" | "after its overlap":
                    rotation = {"overlap_seconds": 3600 if holder.kind in LIVING else 0}
                    assert keeper("POST", f"/keys/{key_id}/rotate", rotation).status == 201
        yield World(
            *clients,
            dict(zip(held, before, strict=True)),
            dict(zip(held, identified(*texts), strict=True)),
        )


@pytest.fixture
def theirs(world: World, admin: Connection) -> dict[str, str]:
    """A value for each parameter of a path that names something: what the first tenant has."""
    name, tenant_id = str(uuid4()), str(uuid4())
    agent = world.here.agent(name, tool_ids=[world.here.tool(f"{name} in use")["id"]])
    assert world.here("PUT", f"/secrets/{name}", {"value": "value"}).status == 200
    admin.execute("insert into app.tenants (id, name) values (%s, %s)", (tenant_id, name))
    return {
        "agent_id": agent["id"],
        "tool_id": world.here.tool(name)["id"],
        "execution_id": world.here.run(agent)["execution_id"],
        "key_id": made(admin, HERE)[1],
        "name": name,
        "tenant_id": tenant_id,
    }


def any_of(schema: dict[str, Any]) -> str:
    """Return a value that a schema takes, and that is nowhere the name of anything."""
    return "1" if schema["type"] == "integer" else str(uuid4())


def example(operation: Operation, scope: str) -> object:
    """Return the body that the document shows; a key is given no other scope than this."""
    if "requestBody" not in operation.told:
        return None
    [content] = operation.told["requestBody"]["content"].values()
    name = content["schema"]["$ref"].rpartition("/")[2]
    body: dict[str, Any] = DOCUMENT["components"]["schemas"][name]["examples"][0]
    return body | ({"scopes": [scope]} if "scopes" in body and scope in api_keys.SCOPES else {})


def ask(operation: Operation, caller: Caller, scope: str, values: dict[str, str]) -> Answer:
    """Send what the document says of an operation; no request is malformed."""
    filled = {n: values.get(n) or any_of(schema) for n, schema in operation.names.items()}
    needed = [
        f"{p['name']}={any_of(p['schema'])}"
        for p in operation.parameters
        if p["in"] == "query" and p["required"]
    ]
    path = operation.path.format(**filled) + f"?{'&'.join(needed)}"
    answer = Client(caller)(operation.method, path, example(operation, scope))
    assert operation.declares(answer)
    assert answer.status != 422, answer.text
    return answer


def outcome(answer: Answer) -> str:
    """Return what an answer says of the key that asked."""
    if answer.status == 401:
        return "no good"
    if answer.status == 403 and answer.error_code == "INSUFFICIENT_SCOPE":
        return f"lacks {answer.json['details']['required_scope']}"
    return "good"


def test_every_room_is_in_the_document_and_every_operation_has_one_scope_that_keys_can_have() -> (
    None
):
    apps = {
        f"{app.parent.name}.{app.stem}"
        for app in Path(openapi.ROOT, "functions").glob("*/*.py")
        if re.search(r"^router = ", app.read_text(), re.MULTILINE)
    }
    assert apps == {*openapi.APPS}
    assert {str(o) for o in OPERATIONS if not o.scopes} == PUBLIC
    assert all(len(o.scopes) == 1 for o in OPERATIONS if str(o) not in PUBLIC)
    assert {s for o in OPERATIONS for s in o.scopes} <= {*SCOPES}


def test_the_authorizer_takes_living_keys_as_what_they_are_and_no_others(world: World) -> None:
    for holder in HOLDERS:
        caller = world.before[holder]
        assert caller.tenant_id == holder.tenant_id
        assert caller.scopes == {holder.scope}
        assert world.now[holder] == (caller if holder.kind in LIVING else None)


@guarded
def test_a_living_key_with_the_scope_may_and_no_other(
    world: World, theirs: dict[str, str], operation: Operation
) -> None:
    [scope] = operation.scopes
    seen = {}
    for holder in HOLDERS:
        caller = world.now[holder]
        if caller:
            seen[holder] = outcome(ask(operation, caller, holder.scope, theirs))
        else:
            seen[holder] = "no good"  # as API Gateway answers what the authorizer denies
    assert seen == {
        holder: "no good"
        if holder.kind in ENDED
        else "good"
        if holder.scope == scope
        else f"lacks {scope}"
        for holder in HOLDERS
    }


@guarded
def test_a_key_that_has_ended_stops_at_once_though_the_authorizers_word_is_kept(
    world: World, theirs: dict[str, str], operation: Operation
) -> None:
    [scope] = operation.scopes
    for kind in ENDED:
        answer = ask(operation, world.before[Holder(kind, scope)], scope, theirs)
        kept = str(operation) in WITHOUT_DATABASE
        assert outcome(answer) == ("good" if kept else "no good")


@pytest.mark.parametrize(
    "operation",
    [o for o in OPERATIONS if o.scopes and o.scopes != [api_keys.OPERATOR_SCOPE]],
    ids=str,
)
def test_what_the_first_tenant_has_is_for_keys_of_others_as_if_it_were_nowhere(
    world: World, theirs: dict[str, str], operation: Operation
) -> None:
    [scope] = operation.scopes
    nobodys = {n: any_of({"type": "string"}) for n in theirs}
    for kind in ("foreign", "operator's"):
        caller = world.before[Holder(kind, scope)]
        told = []
        for values in (theirs, nobodys):
            answer = ask(operation, caller, scope, values)
            text = answer.text
            for name in operation.names:
                text = text.replace(values.get(name, "…"), "…")
            assert not [value for value in theirs.values() if value in text]
            told.append((answer.status, text if answer.status >= 400 else ""))
        assert told[0] == told[1]
