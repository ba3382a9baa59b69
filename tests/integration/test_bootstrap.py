"""The first operator's key of a deployment, by the migrate function."""

from datetime import UTC, datetime, timedelta

from functions.migrate import app
from local import backends
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.databases import Connection, configured, database_of_its_own
from tests.events import Context
from tests.integration.client import Client, identified


def bootstrap(name: str = "first") -> dict[str, str]:
    with configured(database_user="map_migrator"):
        made: dict[str, str] = app.handler({"bootstrap": name}, Context())
    return made


def caller_of(key: str) -> Caller:
    [caller] = identified(key)
    assert caller
    return caller


def test_the_key_returned_is_an_operators_for_90_days(operator: Caller) -> None:
    made = bootstrap()
    caller = caller_of(made["key"])
    assert (caller.tenant_id, str(caller.key_id)) == (api_keys.PLATFORM, made["key_id"])
    assert caller.scopes == {"platform:admin", "keys:write", "audit:read"}
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)


def test_everything_else_is_done_through_the_api(
    postgres: backends.Server, redis_server: backends.Server
) -> None:
    """From a database that was only migrated to a tenant's first tool."""
    with database_of_its_own(postgres, "bootstrap"):
        operating = Client(caller_of(bootstrap()["key"]))
        made = operating("POST", "/admin/tenants", {"name": "Acme"})
        assert made.status == 201
        Client(caller_of(made.json["key"])).tool()


def test_the_key_is_kept_nowhere_and_the_audit_log_tells_that_it_was_made(
    operator: Caller, admin: Connection
) -> None:
    made = bootstrap("Ann's")
    [kept] = admin.execute(
        "select k.name, k.last_four, k::text from app.api_keys k where id = %s", (made["key_id"],)
    ).fetchall()
    assert kept[:2] == ("Ann's", made["key"][-4:])
    assert made["key"] not in kept[2]
    [entry] = admin.execute(
        "select tenant_id, actor, target_id, l::text from app.audit_log l"
        " where action = 'key.created'"
    ).fetchall()
    assert entry[:3] == (api_keys.PLATFORM, "platform", made["key_id"])
    assert made["key"] not in entry[3]
