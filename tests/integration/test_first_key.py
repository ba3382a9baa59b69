"""The first tenant of a deployment, by the migrate function."""

from functions.authorizer.app import identify
from functions.migrate import app
from tests.databases import Connection, configured
from tests.events import Context


def test_the_key_returned_is_the_new_tenants_and_may_do_everything(
    clean: None, admin: Connection
) -> None:
    with configured(database_user="map_migrator"):
        made = app.handler({"first_tenant": "Acme"}, Context())
    with configured(database_user="map_authorizer"):
        caller = identify([made["key"]])
    assert caller
    assert str(caller.tenant_id) == made["tenant_id"]
    assert "runs:write" in caller.scopes
    rows = admin.execute("select name from app.tenants").fetchall()
    assert rows == [("Acme",)]


def test_the_key_is_kept_nowhere(clean: None, admin: Connection) -> None:
    with configured(database_user="map_migrator"):
        key = app.handler({"first_tenant": "Acme"}, Context())["key"]
    [kept] = admin.execute("select api_keys::text from app.api_keys").fetchall()
    assert key not in kept[0]
    assert key[-4:] in kept[0]
