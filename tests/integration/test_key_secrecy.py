"""What is stored of a key, and what is shown of it: the key itself once."""

from io import StringIO

import pytest

from mini_agent.identity import api_keys
from tests.conftest import Connection
from tests.integration.client import Client
from tests.integration.keys import ONCE, READER, MakeKey, stored, works


@pytest.mark.parametrize("way", ["", "/{}/rotate"], ids=["made", "replaced"])
def test_a_request_sent_again_makes_no_second_key_and_tells_the_first_no_more(
    client: Client, make_key: MakeKey, admin: Connection, way: str
) -> None:
    path, body = f"/keys{way.format(make_key()['id'])}", {} if way else READER
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
    client: Client, make_key: MakeKey, admin: Connection
) -> None:
    assert client.caller
    old = make_key()
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
    client: Client,
    make_key: MakeKey,
    admin: Connection,
    log: StringIO,
    monkeypatch: pytest.MonkeyPatch,
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
    assert make_key()["key"] == key
    assert client("POST", "/keys", READER).status == 500  # of the same digest
    assert "duplicate key" in log.getvalue()
    assert "permission denied" in log.getvalue()
    rows = admin.execute("select a::text from app.audit_log a").fetchall()
    assert key not in log.getvalue() + str(rows) + str(stored(admin))
