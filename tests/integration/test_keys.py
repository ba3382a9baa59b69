"""Keys that a tenant manages itself: creation, revocation and lists."""

from datetime import timedelta
from uuid import uuid4

import pytest

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings
from tests.conftest import Connection
from tests.events import uuid
from tests.integration.client import Client, ids, missing_scope, refused_fields
from tests.integration.keys import FIELDS, READER, MakeKey, client_of, stored, time_of, works


def test_a_new_key_is_told_once_and_works_with_the_scopes_it_was_given(client: Client) -> None:
    tool = client.tool()
    answer = client("POST", "/keys", {"name": " Reader ", "scopes": ["tools:read", "runs:read"]})
    new = answer.json
    assert (answer.status, new.keys()) == (201, FIELDS | {"key"})
    assert api_keys.is_well_formed(new["key"])
    assert (new["name"], new["scopes"]) == ("Reader", ["runs:read", "tools:read"])
    assert new["key"].startswith(new["prefix"])
    assert new["key"].endswith(new["last_four"])
    assert (new["revoked_at"], new["last_used_at"]) == (None, None)

    reader = client_of(new["key"])
    assert ids(reader("GET", "/tools")) == [tool["id"]]
    assert missing_scope(reader("DELETE", f"/tools/{tool['id']}")) == "tools:write"

    assert answer.headers["location"] == f"/live/api/v1/keys/{new['id']}"
    for told in (
        client("GET", answer.headers["location"].removeprefix("/live")).json,
        client("GET", "/keys?name=Reader").json["items"][0],
    ):
        assert told == {name: new[name] for name in FIELDS}


def test_the_database_keeps_a_digest_by_the_newest_pepper_and_no_key(
    make_key: MakeKey, admin: Connection
) -> None:
    new = make_key()
    row = admin.execute(
        "select digest, pepper_version from app.api_keys where id = %s", (new["id"],)
    ).fetchone()
    assert row == (api_keys.digest(new["key"], settings().key_peppers[2].get_secret_value()), 2)
    assert new["key"] not in str(stored(admin))


def test_no_two_keys_are_the_same_but_names_may_be(make_key: MakeKey, client: Client) -> None:
    made = [make_key() for _ in range(3)]
    assert len({new["key"] for new in made}) == len({new["id"] for new in made}) == 3
    assert ids(client("GET", "/keys?name=Reader")) == [new["id"] for new in made]


@pytest.mark.parametrize(("sent", "days"), [({}, 90), ({"expires_in_days": 1}, 1)])
def test_a_key_expires_after_90_days_or_those_asked_for(
    make_key: MakeKey, admin: Connection, sent: dict[str, int], days: int
) -> None:
    new = make_key(**sent)
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


# ── The end of a key ─────────────────────────────────────────────────────────────────────────────


def test_a_revoked_key_stops_at_once_and_stays_in_the_list_with_its_time(
    client: Client, make_key: MakeKey
) -> None:
    old = make_key()
    sender = client_of(old["key"])
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


def test_a_key_may_revoke_itself(make_key: MakeKey) -> None:
    old = make_key(scopes=["keys:write"])
    sender = client_of(old["key"])
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


def test_keys_are_listed_oldest_first_by_pages_and_by_name(
    client: Client, make_key: MakeKey
) -> None:
    assert client.caller
    made = [make_key(name=name)["id"] for name in ("a", "b", "b")]
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
