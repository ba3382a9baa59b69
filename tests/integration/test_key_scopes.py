"""No key creates a key with more scopes than its own; the room and the database each refuse it."""

from uuid import uuid4

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.conftest import Connection, MakeTenant
from tests.integration.client import Client, identified, missing_scope
from tests.integration.keys import ONCE, READER, MakeKey, client_of, stored


def test_a_key_makes_no_key_that_may_do_more_than_itself(
    make_key: MakeKey, admin: Connection
) -> None:
    maker = client_of(make_key(scopes=["keys:write", "tools:read"])["key"])
    before = stored(admin), admin.execute("select from app.audit_log").rowcount
    for scopes, first in (
        (["tools:write"], "tools:write"),
        (["tools:read", "tools:write", "agents:read"], "tools:write"),
        (["agents:read", "tools:write"], "agents:read"),
        (list(api_keys.SCOPES), "agents:read"),
        (["platform:admin"], "platform:admin"),
    ):
        assert missing_scope(maker("POST", "/keys", {"name": "more", "scopes": scopes})) == first
    assert stored(admin) == before[0]
    for scopes in (["tools:read"], ["tools:read", "keys:write", "tools:read"]):
        equal = maker("POST", "/keys", {"name": "no more", "scopes": scopes})
        assert (equal.status, equal.json["scopes"]) == (201, sorted({*scopes}))


def test_below_that_the_database_refuses_whatever_the_room_believes(
    pretender: Client, admin: Connection
) -> None:
    before = stored(admin)
    body = {"name": "more", "scopes": ["tools:read", "tools:write"]}
    assert missing_scope(pretender("POST", "/keys", body)) == "tools:read tools:write"
    assert missing_scope(pretender("POST", "/keys", body, ONCE)) == "tools:read tools:write"
    assert stored(admin) == before
    assert pretender("POST", "/keys", READER).status == 201


def test_an_operators_key_alone_gives_what_operators_may_and_for_the_platform_alone(
    operator: Caller, client: Client, admin: Connection
) -> None:
    body = {"name": "Second operator", "scopes": ["platform:admin", "keys:write"]}
    assert missing_scope(client("POST", "/keys", body)) == "platform:admin"
    made = Client(operator)("POST", "/keys", body)
    assert made.status == 201
    [caller] = identified(made.json["key"])
    assert caller
    assert caller.tenant_id == api_keys.PLATFORM
    assert caller.scopes == {*body["scopes"]}
    assert missing_scope(Client(operator)("POST", "/keys", READER)) == "tools:read"
    found = admin.execute(
        "select distinct tenant_id from app.api_keys where 'platform:admin' = any (scopes)"
    ).fetchall()
    assert found == [(api_keys.PLATFORM,)]


def test_keys_are_managed_by_those_that_may(make_tenant: MakeTenant) -> None:
    every_other = tuple(scope for scope in api_keys.SCOPES if scope != "keys:write")
    client = Client(make_tenant(scopes=every_other))
    for method, path, body in (
        ("POST", "/keys", READER),
        ("GET", "/keys", None),
        ("GET", f"/keys/{uuid4()}", None),
        ("POST", f"/keys/{uuid4()}/rotate", {}),
        ("DELETE", f"/keys/{uuid4()}", None),
    ):
        assert missing_scope(client(method, path, body)) == "keys:write"
