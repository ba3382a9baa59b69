"""A key in place of another, and the overlap in which both work."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import Connection
from tests.integration.client import Client, missing_scope, refused_fields
from tests.integration.keys import FIELDS, ONCE, MakeKey, client_of, stored, time_of, works


def test_a_key_and_the_one_that_replaces_it_both_work_until_the_overlap_ends(
    client: Client, make_key: MakeKey, admin: Connection
) -> None:
    old = make_key(scopes=["tools:read", "keys:write"])
    answer = client("POST", f"/keys/{old['id'].upper()}/rotate", {"overlap_seconds": 600})
    new = answer.json
    assert (answer.status, new.keys()) == (201, FIELDS | {"key"})
    assert answer.headers["location"] == f"/live/api/v1/keys/{new['id']}"
    assert (new["name"], new["scopes"]) == (old["name"], old["scopes"])
    assert new["id"] != old["id"]
    assert new["key"] != old["key"]
    assert time_of(new["expires_at"]) - time_of(new["created_at"]) == timedelta(days=90)

    told = client("GET", f"/keys/{old['id']}").json
    ends = time_of(told["expires_at"])
    assert timedelta(minutes=9) < ends - datetime.now(UTC) < timedelta(minutes=10)
    assert told == {name: old[name] for name in FIELDS} | {"expires_at": told["expires_at"]}
    assert (
        client_of(new["key"])("GET", "/tools").status
        == client_of(old["key"])("GET", "/tools").status
        == 200
    )

    sender = client_of(old["key"])
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
    client: Client, make_key: MakeKey, sent: dict[str, int], seconds: int, days: int
) -> None:
    old = make_key()
    new = client("POST", f"/keys/{old['id']}/rotate", sent).json
    ends = time_of(client("GET", f"/keys/{old['id']}").json["expires_at"])
    overlap = ends - time_of(new["created_at"])
    assert timedelta(seconds=seconds) <= overlap < timedelta(seconds=seconds + 1)
    assert time_of(new["expires_at"]) - time_of(new["created_at"]) == timedelta(days=days)
    assert works(old) == (seconds > 0)


def test_a_key_that_expires_sooner_lives_no_longer_for_being_replaced(
    client: Client, make_key: MakeKey, admin: Connection
) -> None:
    old = make_key(expires_in_days=1)
    week = {"overlap_seconds": 604_800}
    assert client("POST", f"/keys/{old['id']}/rotate", week).status == 201
    hour = client("POST", f"/keys/{old['id']}/rotate", {"overlap_seconds": 3600})
    assert hour.status == 201
    shorter = client("GET", f"/keys/{old['id']}").json["expires_at"]
    assert shorter < old["expires_at"]
    assert client("POST", f"/keys/{old['id']}/rotate", week).status == 201
    assert client("GET", f"/keys/{old['id']}").json["expires_at"] == shorter


@pytest.mark.parametrize("headers", [{}, ONCE], ids=["plain", "with an Idempotency-Key"])
def test_a_key_may_replace_itself_even_without_overlap(
    make_key: MakeKey, headers: dict[str, str]
) -> None:
    old = make_key(scopes=["keys:write"])
    sender = client_of(old["key"])
    new = sender("POST", f"/keys/{old['id']}/rotate", {"overlap_seconds": 0}, headers)
    assert new.status == 201
    assert sender("GET", "/keys").error_code == "INVALID_API_KEY"
    assert [works(old), works(new.json)] == [False, True]


@pytest.mark.parametrize(
    "ending", ["revoked_at = now()", "expires_at = now()"], ids=["revoked", "expired"]
)
def test_a_key_that_has_ended_is_not_replaced(
    client: Client, make_key: MakeKey, admin: Connection, ending: str
) -> None:
    old = make_key()
    admin.execute(f"update app.api_keys set {ending} where id = %s", (old["id"],))
    before = stored(admin)
    refused = client("POST", f"/keys/{old['id']}/rotate", {})
    assert (refused.status, refused.error_code) == (404, "KEY_NOT_FOUND")
    assert stored(admin) == before


def test_a_lesser_key_takes_no_greater_ones_place(
    client: Client, make_key: MakeKey, admin: Connection
) -> None:
    assert client.caller
    lesser = client_of(make_key(scopes=["keys:write", "tools:read"])["key"])
    before = stored(admin)
    root = client.caller.key_id
    assert missing_scope(lesser("POST", f"/keys/{root}/rotate", {})) == "agents:read"
    assert stored(admin) == before
    assert lesser("POST", f"/keys/{make_key()['id']}/rotate", {}).status == 201


@pytest.mark.parametrize("headers", [{}, ONCE], ids=["plain", "with an Idempotency-Key"])
def test_where_the_database_refuses_the_new_key_the_old_one_lives_on(
    make_key: MakeKey, pretender: Client, admin: Connection, headers: dict[str, str]
) -> None:
    old = admin.execute(
        "insert into app.api_keys (tenant_id, name, digest, pepper_version, prefix, last_four,"
        " scopes) values (%s, 'greater', sha256('x'), 1, 'p', 'l', '{tools:write}') returning id",
        (pretender.caller.tenant_id,) if pretender.caller else (),
    ).fetchone()
    assert old
    before = stored(admin)
    refused = pretender("POST", f"/keys/{old[0]}/rotate", {"overlap_seconds": 0}, headers)
    assert missing_scope(refused) == "tools:write"
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
    client: Client, make_key: MakeKey, admin: Connection, fields: dict[str, object]
) -> None:
    old = make_key()
    before = stored(admin)
    refused = client("POST", f"/keys/{old['id']}/rotate", fields)
    assert refused_fields(refused) == {f"body.{name}" for name in fields}
    assert stored(admin) == before
