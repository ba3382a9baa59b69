"""Keys that a tenant manages itself, through the Lambda handlers of the room and the authorizer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings
from tests.conftest import Connection, MakeTenant
from tests.events import Answer, uuid
from tests.integration.client import Client, identified, ids, refused_fields

READER = {"name": "Reader", "scopes": ["tools:read"]}
TOLD = {
    *("id", "name", "prefix", "last_four", "scopes"),
    *("created_at", "expires_at", "revoked_at", "last_used_at"),
}
ONCE = {"Idempotency-Key": "key-1"}
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def make(client: Client) -> Make:
    """Makes keys of the tenant."""

    def made(**fields: object) -> dict[str, Any]:
        answer = client("POST", "/keys", READER | fields)
        assert answer.status == 201, answer.text
        new: dict[str, Any] = answer.json
        return new

    return made


def client_of(new: dict[str, Any]) -> Client:
    """Return a client that sends a key which was just told."""
    [caller] = identified(new["key"])
    assert caller
    return Client(caller)


def works(new: dict[str, Any]) -> bool:
    return identified(new["key"]) != [None]


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def stored(admin: Connection) -> list[tuple[Any, ...]]:
    return admin.execute("select k::text from app.api_keys k order by k::text").fetchall()


def missing(answer: Answer) -> str:
    """Return the scope that a refusal names."""
    assert (answer.status, answer.error_code) == (403, "INSUFFICIENT_SCOPE"), answer.text
    [scope] = answer.json["details"].values()
    return str(scope)


# ── A new key ────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_told_once_and_works_with_the_scopes_it_was_given(client: Client) -> None:
    tool = client.tool()
    answer = client("POST", "/keys", {"name": " Reader ", "scopes": ["tools:read", "runs:read"]})
    new = answer.json
    assert (answer.status, new.keys()) == (201, TOLD | {"key"})
    assert api_keys.is_well_formed(new["key"])
    assert (new["name"], new["scopes"]) == ("Reader", ["runs:read", "tools:read"])
    assert new["key"].startswith(new["prefix"])
    assert new["key"].endswith(new["last_four"])
    assert (new["revoked_at"], new["last_used_at"]) == (None, None)

    reader = client_of(new)
    assert ids(reader("GET", "/tools")) == [tool["id"]]
    assert missing(reader("DELETE", f"/tools/{tool['id']}")) == "tools:write"

    assert answer.headers["location"] == f"/live/api/v1/keys/{new['id']}"
    for told in (
        client("GET", answer.headers["location"].removeprefix("/live")).json,
        client("GET", "/keys?name=Reader").json["items"][0],
    ):
        assert told == {name: new[name] for name in TOLD}


def test_the_database_keeps_a_digest_by_the_newest_pepper_and_no_key(
    make: Make, admin: Connection
) -> None:
    new = make()
    row = admin.execute(
        "select digest, pepper_version from app.api_keys where id = %s", (new["id"],)
    ).fetchone()
    assert row == (api_keys.digest(new["key"], settings().key_peppers[2].get_secret_value()), 2)
    assert new["key"] not in str(stored(admin))


def test_no_two_keys_are_the_same_but_names_may_be(make: Make, client: Client) -> None:
    made = [make() for _ in range(3)]
    assert len({new["key"] for new in made}) == len({new["id"] for new in made}) == 3
    assert ids(client("GET", "/keys?name=Reader")) == [new["id"] for new in made]


@pytest.mark.parametrize(("sent", "days"), [({}, 90), ({"expires_in_days": 1}, 1)])
def test_a_key_expires_after_90_days_or_those_asked_for(
    make: Make, admin: Connection, sent: dict[str, int], days: int
) -> None:
    new = make(**sent)
    assert time_of(new["expires_at"]) - time_of(new["created_at"]) == timedelta(days=days)
    assert works(new)
    move = "update app.api_keys set expires_at = expires_at - %s::interval where id = %s"
    admin.execute(move, (timedelta(days=days) - timedelta(minutes=1), new["id"]))
    assert works(new)
    admin.execute(move, (timedelta(minutes=1), new["id"]))
    assert not works(new)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"expires_in_days": 0}, "body.expires_in_days"),
        ({"expires_in_days": 366}, "body.expires_in_days"),
        ({"expires_in_days": -1}, "body.expires_in_days"),
        ({"expires_in_days": None}, "body.expires_in_days"),
        ({"expires_in_days": 1.5}, "body.expires_in_days"),
        ({"expires_in_days": 1e400}, "body"),
        ({"scopes": []}, "body.scopes"),
        ({"scopes": None}, "body.scopes"),
        ({"scopes": "tools:read"}, "body.scopes"),
        ({"scopes": ["tools:read", "tools:*"]}, "body.scopes.1"),
        ({"scopes": ["TOOLS:READ"]}, "body.scopes.0"),
        ({"scopes": ["tools:read "]}, "body.scopes.0"),
        ({"scopes": ["tools:read\0"]}, "body.scopes.0"),
        ({"scopes": [""]}, "body.scopes.0"),
        ({"scopes": [["tools:read"]]}, "body.scopes.0"),
        ({"scopes": ["tools:read"] * 13}, "body.scopes"),
        ({"name": " "}, "body.name"),
        ({"name": "a" * 101}, "body.name"),
        ({"name": "a\0"}, "body.name"),
        ({"key": "map_live_mine"}, "body.key"),
        ({"tenant_id": str(api_keys.PLATFORM)}, "body.tenant_id"),
        ({"id": str(uuid(1))}, "body.id"),
    ],
    ids=ascii,
)
def test_an_unfit_key_is_refused(
    client: Client, admin: Connection, fields: dict[str, object], field: str
) -> None:
    before = stored(admin)
    refused = refused_fields(client("POST", "/keys", READER | fields))
    assert any(name.startswith(field) for name in refused)
    assert stored(admin) == before


# ── No more than its maker ───────────────────────────────────────────────────────────────────────


def test_a_key_makes_no_key_that_may_do_more_than_itself(make: Make, admin: Connection) -> None:
    maker = client_of(make(scopes=["keys:write", "tools:read"]))
    before = stored(admin), admin.execute("select from app.audit_log").rowcount
    for scopes, first in (
        (["tools:write"], "tools:write"),
        (["tools:read", "tools:write", "agents:read"], "tools:write"),
        (["agents:read", "tools:write"], "agents:read"),
        (list(api_keys.SCOPES), "agents:read"),
        (["platform:admin"], "platform:admin"),
    ):
        assert missing(maker("POST", "/keys", {"name": "more", "scopes": scopes})) == first
    assert stored(admin) == before[0]
    for scopes in (["tools:read"], ["tools:read", "keys:write", "tools:read"]):
        equal = maker("POST", "/keys", {"name": "no more", "scopes": scopes})
        assert (equal.status, equal.json["scopes"]) == (201, sorted({*scopes}))


@pytest.fixture
def pretender(tenant: Caller, admin: Connection) -> Client:
    """A caller that the room takes for one who may do everything, and the database does not."""
    admin.execute(
        "update app.api_keys set scopes = '{keys:write,tools:read}' where id = %s",
        (tenant.key_id,),
    )
    return Client(tenant)


def test_below_that_the_database_refuses_whatever_the_room_believes(
    pretender: Client, admin: Connection
) -> None:
    before = stored(admin)
    body = {"name": "more", "scopes": ["tools:read", "tools:write"]}
    assert missing(pretender("POST", "/keys", body)) == "tools:read tools:write"
    assert missing(pretender("POST", "/keys", body, ONCE)) == "tools:read tools:write"
    assert stored(admin) == before
    assert pretender("POST", "/keys", READER).status == 201


def test_an_operators_key_alone_gives_what_operators_may_and_for_the_platform_alone(
    operator: Caller, client: Client, admin: Connection
) -> None:
    body = {"name": "Second operator", "scopes": ["platform:admin", "keys:write"]}
    assert missing(client("POST", "/keys", body)) == "platform:admin"
    made = Client(operator)("POST", "/keys", body)
    assert made.status == 201
    [caller] = identified(made.json["key"])
    assert caller
    assert caller.tenant_id == api_keys.PLATFORM
    assert caller.scopes == {*body["scopes"]}
    assert missing(Client(operator)("POST", "/keys", READER)) == "tools:read"
    found = admin.execute(
        "select distinct tenant_id from app.api_keys where 'platform:admin' = any (scopes)"
    ).fetchall()
    assert found == [(api_keys.PLATFORM,)]


# ── A key in place of another ────────────────────────────────────────────────────────────────────


def test_a_key_and_the_one_that_replaces_it_both_work_until_the_overlap_ends(
    client: Client, make: Make, admin: Connection
) -> None:
    old = make(scopes=["tools:read", "keys:write"])
    answer = client("POST", f"/keys/{old['id'].upper()}/rotate", {"overlap_seconds": 600})
    new = answer.json
    assert (answer.status, new.keys()) == (201, TOLD | {"key"})
    assert answer.headers["location"] == f"/live/api/v1/keys/{new['id']}"
    assert (new["name"], new["scopes"]) == (old["name"], old["scopes"])
    assert new["id"] != old["id"]
    assert new["key"] != old["key"]
    assert time_of(new["expires_at"]) - time_of(new["created_at"]) == timedelta(days=90)

    told = client("GET", f"/keys/{old['id']}").json
    ends = time_of(told["expires_at"])
    assert timedelta(minutes=9) < ends - datetime.now(UTC) < timedelta(minutes=10)
    assert told == {name: old[name] for name in TOLD} | {"expires_at": told["expires_at"]}
    assert client_of(new)("GET", "/tools").status == client_of(old)("GET", "/tools").status == 200

    sender = client_of(old)
    admin.execute("update app.api_keys set expires_at = now() where id = %s", (old["id"],))
    assert [works(old), works(new)] == [False, True]
    assert sender("GET", "/tools").error_code == "INVALID_API_KEY"


@pytest.mark.parametrize(
    ("sent", "seconds", "days"),
    [
        ({}, 86_400, 90),
        ({"overlap_seconds": 604_800, "expires_in_days": 365}, 604_800, 365),
        ({"overlap_seconds": 0, "expires_in_days": 1}, 0, 1),
    ],
)
def test_the_overlap_is_a_day_or_what_is_asked_for_and_the_new_key_lives_as_long_as_asked(
    client: Client, make: Make, sent: dict[str, int], seconds: int, days: int
) -> None:
    old = make()
    new = client("POST", f"/keys/{old['id']}/rotate", sent).json
    ends = time_of(client("GET", f"/keys/{old['id']}").json["expires_at"])
    overlap = ends - time_of(new["created_at"])
    assert timedelta(seconds=seconds) <= overlap < timedelta(seconds=seconds + 1)
    assert time_of(new["expires_at"]) - time_of(new["created_at"]) == timedelta(days=days)
    assert works(old) == (seconds > 0)


def test_a_key_that_expires_sooner_lives_no_longer_for_being_replaced(
    client: Client, make: Make, admin: Connection
) -> None:
    old = make(expires_in_days=1)
    week = {"overlap_seconds": 604_800}
    assert client("POST", f"/keys/{old['id']}/rotate", week).status == 201
    hour = client("POST", f"/keys/{old['id']}/rotate", {"overlap_seconds": 3600})
    assert hour.status == 201
    shorter = client("GET", f"/keys/{old['id']}").json["expires_at"]
    assert shorter < old["expires_at"]
    assert client("POST", f"/keys/{old['id']}/rotate", week).status == 201
    assert client("GET", f"/keys/{old['id']}").json["expires_at"] == shorter


@pytest.mark.parametrize("headers", [{}, ONCE], ids=["plain", "with an Idempotency-Key"])
def test_a_key_may_replace_itself_even_without_overlap(make: Make, headers: dict[str, str]) -> None:
    old = make(scopes=["keys:write"])
    sender = client_of(old)
    new = sender("POST", f"/keys/{old['id']}/rotate", {"overlap_seconds": 0}, headers)
    assert new.status == 201
    assert sender("GET", "/keys").error_code == "INVALID_API_KEY"
    assert [works(old), works(new.json)] == [False, True]


@pytest.mark.parametrize(
    "ending", ["revoked_at = now()", "expires_at = now()"], ids=["revoked", "expired"]
)
def test_a_key_that_has_ended_is_not_replaced(
    client: Client, make: Make, admin: Connection, ending: str
) -> None:
    old = make()
    admin.execute(f"update app.api_keys set {ending} where id = %s", (old["id"],))
    before = stored(admin)
    refused = client("POST", f"/keys/{old['id']}/rotate", {})
    assert (refused.status, refused.error_code) == (404, "KEY_NOT_FOUND")
    assert stored(admin) == before


def test_a_lesser_key_takes_no_greater_ones_place(
    client: Client, make: Make, admin: Connection
) -> None:
    assert client.caller
    lesser = client_of(make(scopes=["keys:write", "tools:read"]))
    before = stored(admin)
    root = client.caller.key_id
    assert missing(lesser("POST", f"/keys/{root}/rotate", {})) == "agents:read"
    assert stored(admin) == before
    assert lesser("POST", f"/keys/{make()['id']}/rotate", {}).status == 201


@pytest.mark.parametrize("headers", [{}, ONCE], ids=["plain", "with an Idempotency-Key"])
def test_where_the_database_refuses_the_new_key_the_old_one_lives_on(
    make: Make, pretender: Client, admin: Connection, headers: dict[str, str]
) -> None:
    old = admin.execute(
        "insert into app.api_keys (tenant_id, name, digest, pepper_version, prefix, last_four,"
        " scopes) values (%s, 'greater', sha256('x'), 1, 'p', 'l', '{tools:write}') returning id",
        (pretender.caller.tenant_id,) if pretender.caller else (),
    ).fetchone()
    assert old
    before = stored(admin)
    refused = pretender("POST", f"/keys/{old[0]}/rotate", {"overlap_seconds": 0}, headers)
    assert missing(refused) == "tools:write"
    assert stored(admin) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"overlap_seconds": -1},
        {"overlap_seconds": 604_801},
        {"overlap_seconds": None},
        {"overlap_seconds": "soon"},
        {"expires_in_days": 0},
        {"expires_in_days": 366},
        {"name": "other"},
        {"scopes": ["tools:write"]},
    ],
    ids=ascii,
)
def test_an_unfit_rotation_is_refused(
    client: Client, make: Make, admin: Connection, fields: dict[str, object]
) -> None:
    old = make()
    before = stored(admin)
    refused = client("POST", f"/keys/{old['id']}/rotate", fields)
    assert refused_fields(refused) == {f"body.{name}" for name in fields}
    assert stored(admin) == before


# ── The end of a key ─────────────────────────────────────────────────────────────────────────────


def test_a_revoked_key_stops_at_once_and_stays_in_the_list_with_its_time(
    client: Client, make: Make
) -> None:
    old = make()
    sender = client_of(old)
    gone = client("DELETE", f"/keys/{old['id']}")
    assert (gone.status, gone.text) == (204, "")
    assert not works(old)
    assert sender("GET", "/tools").error_code == "INVALID_API_KEY"
    told = client("GET", f"/keys/{old['id']}").json
    assert time_of(told["revoked_at"]) > time_of(old["created_at"])
    assert told in client("GET", "/keys").json["items"]

    again = client("DELETE", f"/keys/{old['id']}")
    assert (again.status, again.text) == (204, "")
    assert client("GET", f"/keys/{old['id']}").json == told


def test_a_key_may_revoke_itself(make: Make) -> None:
    old = make(scopes=["keys:write"])
    sender = client_of(old)
    assert sender("DELETE", f"/keys/{old['id']}").status == 204
    assert sender("GET", "/keys").error_code == "INVALID_API_KEY"


@pytest.mark.parametrize(
    ("method", "way", "body"), [("GET", "", None), ("POST", "/rotate", {}), ("DELETE", "", None)]
)
def test_an_unknown_key_and_another_tenants_are_not_found(
    client: Client, stranger: Caller, admin: Connection, method: str, way: str, body: object
) -> None:
    before = stored(admin)
    for key_id in (str(uuid4()), str(stranger.key_id)):
        refused = client(method, f"/keys/{key_id}{way}", body)
        assert (refused.status, refused.error_code) == (404, "KEY_NOT_FOUND")
        assert refused.json["details"] == {"key_id": key_id}
    assert refused_fields(client(method, f"/keys/first{way}", body)) == {"path.key_id"}
    assert stored(admin) == before


# ── Lists ────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_listed_oldest_first_by_pages_and_by_name(client: Client, make: Make) -> None:
    assert client.caller
    made = [make(name=name)["id"] for name in ("a", "b", "b")]
    everything = [str(client.caller.key_id), *made]
    whole = client("GET", "/keys?include_total=true")
    assert (ids(whole), whole.json["total"]) == (everything, 4)
    first = client("GET", "/keys?limit=3").json
    second = client("GET", f"/keys?limit=3&cursor={first['next_cursor']}")
    assert [key["id"] for key in first["items"]] + ids(second) == everything
    named = client("GET", "/keys?name=b&include_total=true")
    assert (ids(named), named.json["total"]) == (made[1:], 2)
    assert ids(client("GET", "/keys?name=c")) == []
    assert refused_fields(client("GET", "/keys?scope=x")) == {"query.scope"}


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
        assert missing(client(method, path, body)) == "keys:write"


# ── What is kept of a key, and what is told of it ────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["", "/{}/rotate"], ids=["made", "replaced"])
def test_a_request_sent_again_makes_no_second_key_and_tells_the_first_no_more(
    client: Client, make: Make, admin: Connection, way: str
) -> None:
    path, body = f"/keys{way.format(make()['id'])}", {} if way else READER
    first = client("POST", path, body, ONCE)
    assert first.status == 201
    assert works(first.json)
    before = stored(admin)
    again = client("POST", path, body, ONCE)
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.headers["location"] == first.headers["location"]
    assert again.json == first.json | {"key": None}
    assert stored(admin) == before
    [row] = admin.execute("select i::text, body from app.idempotency_keys i").fetchall()
    assert first.json["key"] not in row[0]
    assert row[1] == again.text


def test_what_only_looks_like_a_key_is_stored_as_it_was_told(client: Client) -> None:
    new = api_keys.generate()
    descriptions = [
        f"{new[:-1]}{'0' if new[-1] != '0' else '1'}",
        f'say "{new}"',
        f'say: "{new}"',
        f'{{"key":"{new}"}}',
        f"{new}, and no more",
    ]
    for number, description in enumerate(descriptions):
        body = {"name": f"tool {number}", "description": description}
        headers = {"Idempotency-Key": str(number)}
        first = client("POST", "/tools", body, headers)
        assert first.json["description"] == description
        again = client("POST", "/tools", body, headers)
        assert (again.headers["idempotency-replayed"], again.json) == ("true", first.json)


def test_what_was_done_to_keys_is_in_the_audit_log_without_what_they_are_known_by(
    client: Client, make: Make, admin: Connection
) -> None:
    assert client.caller
    old = make()
    new = client("POST", f"/keys/{old['id']}/rotate", {}).json
    client("DELETE", f"/keys/{old['id']}")
    client("DELETE", f"/keys/{old['id']}")
    entries = admin.execute(
        "select action, target_id, key_id, after from app.audit_log order by created_at, action"
    ).fetchall()
    assert [entry[:3] for entry in entries] == [
        ("key.created", old["id"], client.caller.key_id),
        ("key.rotated", old["id"], client.caller.key_id),
        ("key.created", new["id"], client.caller.key_id),
        ("key.revoked", old["id"], client.caller.key_id),
    ]
    assert [*entries[1][3]] == ["expires_at"]
    assert [*entries[3][3]] == ["revoked_at"]
    assert {entry[3]["digest"] for entry in (entries[0], entries[2])} == {"***"}


def test_no_key_is_in_any_log_or_row_whatever_goes_wrong(
    client: Client, make: Make, admin: Connection, log: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = api_keys.generate()
    monkeypatch.setattr(api_keys, "generate", lambda: key)
    columns = admin.execute(
        "select string_agg(column_name, ', ') from information_schema.column_privileges"
        " where (table_name, grantee, privilege_type) = ('audit_log', 'map_api', 'INSERT')"
    ).fetchone()
    assert columns
    admin.execute("revoke insert on app.audit_log from map_api")
    try:
        assert client("POST", "/keys", READER).status == 500
    finally:
        admin.execute(f"grant insert ({columns[0]}) on app.audit_log to map_api")
    assert make()["key"] == key
    assert client("POST", "/keys", READER).status == 500  # of the same digest
    assert "duplicate key" in log.getvalue()
    assert "permission denied" in log.getvalue()
    rows = admin.execute("select a::text from app.audit_log a").fetchall()
    assert key not in log.getvalue() + str(rows) + str(stored(admin))
