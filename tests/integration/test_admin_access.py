"""Only operators do what operators can, and they see no prompt, answer or secret."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from local import backends
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller, Operator
from scripts import openapi
from tests.conftest import Connection, MakeTenant
from tests.databases import connect
from tests.events import Answer, uuid
from tests.integration.client import Client
from tests.integration.tenants import TENANTS, refused, unauthorized


@dataclass(frozen=True)
class Operation:
    """An operation of the operators', with a body that it takes."""

    method: str
    path: str
    body: object

    def ask(self, client: Client, tenant: Caller) -> Answer:
        return client(self.method, self.path.format(tenant_id=tenant.tenant_id), self.body)


def operations() -> Iterator[Operation]:
    document = openapi.document()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/v1/admin/"):
                body = None
                if "requestBody" in operation:
                    [content] = operation["requestBody"]["content"].values()
                    body = schemas[content["schema"]["$ref"].rpartition("/")[2]]["examples"][0]
                yield Operation(method.upper(), path, body)


OPERATIONS = list(operations())
each_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}"
)


def state(admin: Connection) -> list[Any]:
    """Return all that an operation could change; that it was refused is noted, and no change."""
    changes = "(select * from app.audit_log where action not like '%.refused')"
    return [
        admin.execute(f"select t::text from {table} t order by 1").fetchall()
        for table in ("app.tenants", "app.api_keys", changes, "app.idempotency_keys")
    ]


def test_there_are_operations_to_be_tried() -> None:
    assert len(OPERATIONS) >= 9


@each_operation
def test_an_operator_can_do_it(operating: Client, tenant: Caller, operation: Operation) -> None:
    assert operation.ask(operating, tenant).status in {200, 201}


@each_operation
def test_a_tenants_key_cannot(
    client: Client, stranger: Caller, admin: Connection, operation: Operation
) -> None:
    before = state(admin)
    for whose in (client.caller, stranger):
        assert whose
        answer = operation.ask(client, whose)
        details = {"required_scope": "platform:admin"}
        assert refused(answer) == (403, "INSUFFICIENT_SCOPE", details)
    assert state(admin) == before


@each_operation
def test_the_database_refuses_who_is_no_operator_whatever_the_authorizers_context_says(
    make_tenant: MakeTenant,
    operator: Caller,
    tenant: Caller,
    admin: Connection,
    operation: Operation,
) -> None:
    scopes = tenant.scopes | {api_keys.OPERATOR_SCOPE}
    admin.execute(
        "insert into app.api_keys (tenant_id, id, name, digest, pepper_version, prefix, last_four,"
        " scopes) values (%s, %s, 'lesser', sha256('lesser'), 1, 'p', 'f', '{keys:write}')",
        (api_keys.PLATFORM, uuid(2)),
    )
    before = state(admin)
    for forged in (
        replace(tenant, scopes=scopes),
        replace(tenant, scopes=scopes, tenant_id=api_keys.PLATFORM),
        replace(operator, tenant_id=tenant.tenant_id),
        replace(operator, key_id=uuid(2)),
        replace(operator, key_id=uuid(3)),
    ):
        assert unauthorized(operation.ask(Client(forged), tenant))
    assert state(admin) == before


def test_a_stored_answer_is_told_to_operators_alone(
    operating: Client, operator: Caller, admin: Connection
) -> None:
    once = {"Idempotency-Key": "once"}
    assert operating("POST", TENANTS, {"name": "Acme"}, once).status == 201
    admin.execute(
        "update app.api_keys set scopes = '{keys:write}' where id = %s", (operator.key_id,)
    )
    assert unauthorized(operating("POST", TENANTS, {"name": "Acme"}, once))


def test_an_operator_whose_key_is_revoked_is_none_at_once(
    operating: Client, operator: Caller, admin: Connection
) -> None:
    assert operating("GET", TENANTS).status == 200
    admin.execute("update app.api_keys set revoked_at = now() where id = %s", (operator.key_id,))
    assert unauthorized(operating("GET", TENANTS))


def test_an_operators_key_does_nothing_on_tenants_routes(
    operating: Client, operator: Caller, client: Client
) -> None:
    """Nor would it see anything of theirs, had it the scopes."""
    tool, agent = client.tool(), client.agent()
    run = client.run(agent)["execution_id"]
    for path in ("/tools", "/agents", "/history", "/secrets", "/usage", f"/executions/{run}"):
        assert operating("GET", path).error_code == "INSUFFICIENT_SCOPE"
    forging = Client(
        replace(operator, scopes=frozenset({*api_keys.SCOPES, api_keys.OPERATOR_SCOPE}))
    )
    for path in ("/tools", "/agents", "/history", "/secrets", "/usage"):
        assert forging("GET", path).json["items"] == []
    for path in (f"/tools/{tool['id']}", f"/agents/{agent['id']}", f"/history/{run}"):
        assert forging("GET", path).status == 404


# ── What the database lets operators see ─────────────────────────────────────────────────────────


@pytest.fixture
def as_operator(postgres: backends.Server, operator: Caller) -> Iterator[Connection]:
    """A transaction of an operator's."""
    with connect(postgres, "map_operator") as conn, conn.transaction(force_rollback=True):
        conn.execute(*Operator(**vars_of(operator)).entry_statement())
        yield conn


def vars_of(caller: Caller) -> dict[str, Any]:
    return {name: getattr(caller, name) for name in Caller.__dataclass_fields__}


@pytest.mark.parametrize(
    "query",
    [
        "select prompt from app.executions",
        "select response from app.executions",
        "select definition from app.executions",
        "select * from app.executions",
        "select from app.execution_steps",
        "select ciphertext from app.secrets",
        "select name from app.secrets",
        "select digest from app.api_keys",
        "select * from app.api_keys",
        "select from app.tools",
        "select from app.agents",
        "update app.api_keys set scopes = '{platform:admin}'",
        "update app.api_keys set revoked_at = null",
        "update app.audit_log set action = 'x'",
        "delete from app.audit_log",
        "delete from app.tenants",
        "delete from app.executions",
    ],
)
def test_an_operators_role_may_not(as_operator: Connection, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        as_operator.execute(query.encode())


def test_an_operator_sees_counts_of_all_and_stored_answers_of_the_platform_alone(
    client: Client, tenant: Caller, as_operator: Connection
) -> None:
    client.run(client.agent())
    client("POST", "/tools", {"name": "k", "description": "k"}, {"Idempotency-Key": "once"})
    counted = "select tenant_id, model, count(*) from app.executions group by 1, 2"
    assert as_operator.execute(counted).fetchall() == [(tenant.tenant_id, "gpt-4o", 1)]
    assert as_operator.execute("select from app.idempotency_keys").rowcount == 0


def test_without_being_entered_as_operator_its_role_sees_no_tenant(
    postgres: backends.Server, operator: Caller, tenant: Caller
) -> None:
    with connect(postgres, "map_operator") as conn, conn.transaction():
        for table in ("tenants", "api_keys", "executions", "daily_usage", "audit_log"):
            assert conn.execute(f"select from app.{table}").rowcount == 0
        conn.execute(*operator.entry_statement())
        assert conn.execute("select id from app.tenants").fetchall() == [(api_keys.PLATFORM,)]


@pytest.mark.parametrize("whose", [UUID(int=0), None])
def test_who_is_no_operator_does_not_enter_as_one(
    postgres: backends.Server, tenant: Caller, operator: Caller, whose: UUID | None
) -> None:
    forged = Operator(**vars_of(replace(tenant, tenant_id=whose or tenant.tenant_id)))
    with connect(postgres, "map_operator") as conn, pytest.raises(psycopg.Error) as refusal:
        conn.execute(*forged.entry_statement())
    assert refusal.value.sqlstate == "MAP01"


def test_a_tenants_key_cannot_be_given_the_operators_scope(
    as_operator: Connection, tenant: Caller
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="operators_of_platform"):
        as_operator.execute(
            "insert into app.api_keys (tenant_id, name, digest, pepper_version, prefix, last_four,"
            " scopes) values (%s, 'k', sha256('k'), 1, 'p', 'f', '{platform:admin}')",
            (tenant.tenant_id,),
        )
