"""The authorizer, through its Lambda handler, and what its cached policies still allow later."""

from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from functions.authorizer.app import handler
from mini_agent.errors import ServiceUnavailable
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings
from tests.conftest import Connection, MakeTenant
from tests.databases import configured
from tests.events import Context
from tests.integration.client import TOOL, Client

ARN = "arn:aws:execute-api:eu-west-1:000000000000:api-id/live"
KEY = api_keys.generate()


@pytest.fixture
def authorizer() -> Iterator[None]:
    """The settings of the authorizer's function."""
    with configured(database_user="map_authorizer"):
        yield


def authorize(
    *values: str, name: str = "X-API-KEY", path: str = "GET/api/v1/tools"
) -> dict[str, Any]:
    """Return the authorizer's response to a request with these values of one header."""
    headers = {name: list(values)} if values else {}
    answer: dict[str, Any] = handler(
        {
            "type": "REQUEST",
            "methodArn": f"{ARN}/{path}",
            "headers": {header: sent[-1] for header, sent in headers.items()},
            "multiValueHeaders": headers,
        },
        Context(),
    )
    return answer


def allowed(answer: Mapping[str, Any]) -> bool:
    """Tell whether a policy allows, and check that it says nothing else."""
    [statement] = answer["policyDocument"]["Statement"]
    effect = statement.pop("Effect")
    assert statement == {"Action": "execute-api:Invoke", "Resource": f"{ARN}/*"}
    if effect == "Deny":
        assert (answer["principalId"], answer["context"]) == ("nobody", {})
    return bool(effect == "Allow")


# ── Whose key is it ──────────────────────────────────────────────────────────────────────────────


def test_a_key_becomes_its_tenant_its_scopes_and_its_limit_in_strings(
    make_tenant: MakeTenant, authorizer: None
) -> None:
    make_tenant("someone else", key=api_keys.generate())
    caller = make_tenant(key=KEY, scopes=("tools:read", "history:read"), requests_per_minute=7)
    answer = authorize(KEY)
    assert allowed(answer)
    assert answer["principalId"] == str(caller.tenant_id)
    assert answer["context"] == {
        "tenant_id": str(caller.tenant_id),
        "key_id": str(caller.key_id),
        "scopes": "history:read tools:read",
        "requests_per_minute": "7",
    }
    assert Caller.from_event({"requestContext": {"authorizer": answer["context"]}}) == caller


def test_a_key_without_scopes_may_call_and_do_nothing(
    make_tenant: MakeTenant, authorizer: None
) -> None:
    caller = make_tenant(key=KEY, scopes=())
    answer = authorize(KEY)
    assert allowed(answer)
    assert Caller.from_event({"requestContext": {"authorizer": answer["context"]}}) == caller


@pytest.mark.parametrize(
    "path", ["GET/", "DELETE/api/v1/tools/1", "POST/api/v1/agents/1/run", "GET/a/b/live/c"]
)
def test_the_policy_is_for_the_whole_stage_since_it_is_cached_for_every_route(
    make_tenant: MakeTenant, authorizer: None, path: str
) -> None:
    make_tenant(key=KEY)
    assert allowed(authorize(KEY, path=path))
    assert not allowed(authorize("wrong", path=path))


@pytest.mark.parametrize("name", ["X-API-KEY", "x-api-key", "X-Api-Key", "x-aPi-kEy"])
def test_the_header_is_known_in_any_case(
    make_tenant: MakeTenant, authorizer: None, name: str
) -> None:
    make_tenant(key=KEY)
    assert allowed(authorize(KEY, name=name))


def test_a_header_of_another_name_is_no_key(make_tenant: MakeTenant, authorizer: None) -> None:
    make_tenant(key=KEY)
    assert not allowed(authorize(KEY, name="Authorization"))


def test_single_values_alone_are_enough(make_tenant: MakeTenant, authorizer: None) -> None:
    make_tenant(key=KEY)
    event = {"methodArn": f"{ARN}/GET/", "headers": {"x-api-key": KEY}, "multiValueHeaders": None}
    assert allowed(handler(event, Context()))


@pytest.mark.parametrize("pepper", [1, 2])
def test_a_key_is_known_under_every_version_of_the_pepper(
    make_tenant: MakeTenant, authorizer: None, pepper: int
) -> None:
    caller = make_tenant(key=KEY, pepper=pepper)
    assert authorize(KEY)["context"]["tenant_id"] == str(caller.tenant_id)


def test_a_key_under_a_pepper_that_was_given_up_is_unknown(make_tenant: MakeTenant) -> None:
    make_tenant(key=KEY, pepper=1)
    with configured(database_user="map_authorizer", key_peppers='{"2": "second pepper"}'):
        assert not allowed(authorize(KEY))


# ── Keys that are not (or no longer) valid ───────────────────────────────────────────────────────

REVOKED = "update app.api_keys set revoked_at = now()"
EXPIRED = "update app.api_keys set expires_at = now() - interval '1 second'"
SUSPENDED = "update app.tenants set status = 'suspended'"
endings = pytest.mark.parametrize(
    "ending", [REVOKED, EXPIRED, SUSPENDED], ids=["revoked", "expired", "suspended"]
)


@endings
def test_a_key_that_has_ended_is_refused(
    make_tenant: MakeTenant, admin: Connection, authorizer: None, ending: str
) -> None:
    make_tenant(key=KEY)
    assert allowed(authorize(KEY))
    admin.execute(ending)
    assert not allowed(authorize(KEY))


def test_a_key_that_expires_later_is_valid(
    make_tenant: MakeTenant, admin: Connection, authorizer: None
) -> None:
    make_tenant(key=KEY)
    admin.execute("update app.api_keys set expires_at = now() + interval '1 minute'")
    assert allowed(authorize(KEY))


def test_an_unknown_key_is_refused(make_tenant: MakeTenant, authorizer: None) -> None:
    make_tenant(key=KEY)
    assert not allowed(authorize(api_keys.generate()))


ILL_FORMED = {
    "missing": [],
    "empty": [""],
    "short": ["map_live_"],
    "wrong checksum": [KEY[:-1] + ("0" if KEY[-1] != "0" else "1")],
    "wrong prefix": [KEY.replace("map_live_", "map_test_")],
    "blanks": [f" {KEY}"],
    "list": [f"{KEY}, {KEY}"],
    "twice": [KEY, KEY],
    "two": [KEY, api_keys.generate()],
    "sql": ["' or true --"],
    "nul": ["\0" * 47],
    "half a character": ["\ud800" * 47],
    "half a character in the checksum": [KEY[:-6] + "\ud800" * 6],
    "megabyte": ["x" * 1_000_000],
}


@pytest.mark.parametrize("values", ILL_FORMED.values(), ids=ILL_FORMED.keys())
def test_what_does_not_look_like_a_key_is_refused_without_asking_the_database(
    tmp_path: Path, clean: None, values: list[str]
) -> None:
    with configured(database_user="map_authorizer", database_host=str(tmp_path)):
        assert not allowed(authorize(*values))
        with pytest.raises(ServiceUnavailable):
            authorize(KEY)


def test_no_part_of_a_key_is_ever_logged(
    tmp_path: Path, make_tenant: MakeTenant, authorizer: None, log: StringIO
) -> None:
    make_tenant(key=KEY)
    authorize(KEY)
    authorize(KEY[:-1])
    with configured(database_host=str(tmp_path)), pytest.raises(ServiceUnavailable):
        authorize(KEY)
    assert "connection to the database lost" in log.getvalue()
    assert KEY.removeprefix(api_keys.PREFIX)[:8] not in log.getvalue()


# ── The demo keys ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["tenant-a-key", "tenant-b-key"])
def test_the_local_profile_alone_takes_a_demo_key_even_where_its_digest_is_stored(
    make_tenant: MakeTenant, authorizer: None, key: str
) -> None:
    caller = make_tenant(key=key)
    with configured(profile="local"):
        assert authorize(key)["context"]["tenant_id"] == str(caller.tenant_id)
    assert settings().profile == "aws"
    assert not allowed(authorize(key))


def test_the_local_profile_takes_no_other_short_key(
    make_tenant: MakeTenant, authorizer: None
) -> None:
    make_tenant(key="tenant-c-key")
    with configured(profile="local"):
        assert not allowed(authorize("tenant-c-key"))


# ── After the authorizer, while API Gateway still has its answer ─────────────────────────────────


@endings
def test_a_key_that_has_ended_stops_at_once_whatever_is_cached(
    client: Client, other: Client, admin: Connection, ending: str
) -> None:
    assert client.caller
    tool, agent = client.tool(), client.agent()
    run = client.run(agent)
    admin.execute(
        f"{ending} where {'id' if ending == SUSPENDED else 'tenant_id'} = %s",
        (client.caller.tenant_id,),
    )
    asked = {"prompt": "Hi", "model": "gpt-4o"}
    for method, path, body in (
        ("POST", "/tools", TOOL | {"name": "new"}),
        ("GET", "/tools", None),
        ("GET", f"/tools/{tool['id']}", None),
        ("PUT", f"/tools/{tool['id']}", {"name": "new"}),
        ("DELETE", f"/tools/{tool['id']}", None),
        ("POST", "/agents", {"name": "new", "role": "spy", "description": "Spies"}),
        ("GET", "/agents", None),
        ("GET", f"/agents/{agent['id']}", None),
        ("PUT", f"/agents/{agent['id']}", {"name": "new"}),
        ("DELETE", f"/agents/{agent['id']}", None),
        ("POST", f"/agents/{agent['id']}/run", asked),
        ("GET", "/history", None),
        ("GET", f"/history/{run['execution_id']}", None),
    ):
        refused = client(method, path, body)
        assert (refused.status, refused.error_code) == (401, "INVALID_API_KEY")
        assert refused.json["details"] == {}
    assert admin.execute("select count(*) from app.executions").fetchone() == (1,)
    assert admin.execute("select name from app.tools").fetchall() == [("web",)]
    other.tool()


def test_a_key_of_one_tenant_does_not_open_another(tenant: Caller, stranger: Caller) -> None:
    mixed = Caller(stranger.tenant_id, tenant.key_id, tenant.scopes, 100)
    assert Client(mixed)("GET", "/tools").error_code == "INVALID_API_KEY"
