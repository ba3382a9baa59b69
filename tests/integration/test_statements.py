"""The statements that Postgres logs are ones that RDS Proxy can send over any connection.

RDS Proxy reserves a session for one client ("pins" it) after SET, set_config, a named statement,
DEALLOCATE, a cursor, LISTEN, a session's advisory lock, or a statement longer than 16 KB. It does
not look inside stored functions.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from functions.authorizer.app import handler as authorizer
from functions.sweep.app import handler as sweep
from local import backends
from mini_agent.data import queries
from mini_agent.identity import api_keys
from tests.conftest import Connection, MakeTenant
from tests.databases import configured, connect, numbered, query_names
from tests.events import Context
from tests.integration.client import RUN, Client
from tests.integration.running import Model, Outside, Waiting, ask_for, say, scripted

MAX_BYTES = 16 * 1024
QUERIES = {numbered(name).strip(): name for name in query_names()}
ALLOWED = {
    "select app.enter_tenant($1, $2, $3, $4)",
    "select app.enter_operator($1, $2, $3, $4)",
    "select app.enter_run($1, $2)",
    *("BEGIN", "COMMIT", "ROLLBACK"),
    *QUERIES,
}
LOGGED = re.compile(
    r"^(?P<user>map_(?:api|authorizer|operator|sweeper)) LOG:"
    r"  (?:statement|execute (?P<name>[^:]*)): (?P<text>.*(?:\n\t.*)*)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Statement:
    user: str
    name: str  # of a prepared statement or a cursor
    text: str

    @property
    def is_allowed(self) -> bool:
        is_known = self.text in ALLOWED and len(self.text.encode()) <= MAX_BYTES
        return is_known and self.name in {"", "<unnamed>"}


class Log:
    """The statements that the app's roles have sent since this was created."""

    def __init__(self, server: backends.Server) -> None:
        self.file, self.start = server.log, server.log.stat().st_size

    def __iter__(self) -> Iterator[Statement]:
        with self.file.open("rb") as file:
            file.seek(self.start)
            text = file.read().decode()
        for found in LOGGED.finditer(text):
            yield Statement(
                found["user"], found["name"] or "", found["text"].replace("\n\t", "\n").strip()
            )


@pytest.fixture
def log(postgres: backends.Server) -> Log:
    return Log(postgres)


def use_everything(client: Client, key: str) -> None:
    """Use every operation, refusals by the database included."""
    with configured(database_user="map_authorizer"):
        arn = "arn:aws:execute-api:eu-west-1:000000000000:api/live/GET/api/v1/tools"
        for sent, effect in ((key, "Allow"), (api_keys.generate(), "Deny")):
            answer = authorizer({"methodArn": arn, "headers": {"X-API-KEY": sent}}, Context())
            assert answer["policyDocument"]["Statement"][0]["Effect"] == effect
    tool, unused = client.tool(), client.tool("unused")
    agent = client.agent(tool_ids=[tool["id"]])
    runs = [client.run(agent) for _ in range(2)]
    nothing = "00000000-0000-0000-0000-000000000000"
    for path in ("/tools", "/agents", "/history", "/audit"):
        page = client("GET", f"{path}?limit=1&include_total=true")
        client("GET", f"{path}?limit=1&cursor={page.json['next_cursor']}")
    expected = {
        ("GET", f"/tools/{tool['id']}"): 200,
        ("GET", f"/agents/{agent['id']}"): 200,
        ("GET", f"/history/{runs[0]['execution_id']}"): 200,
        ("GET", f"/history/{nothing}"): 404,
        ("DELETE", f"/tools/{tool['id']}"): 409,
        ("DELETE", f"/tools/{unused['id']}"): 204,
        ("DELETE", f"/agents/{agent['id']}"): 204,
        ("GET", "/ready"): 200,
    }
    assert client("PUT", f"/tools/{tool['id']}", {"name": "new"}).status == 200
    assert client("PUT", f"/agents/{agent['id']}", {"tool_ids": [nothing]}).status == 403
    assert client("PUT", f"/agents/{agent['id']}", {"name": "new"}).status == 200
    assert client("POST", f"/agents/{nothing}/run", {"prompt": "?", "model": "gpt-4"}).status == 403
    for (method, path), status in expected.items():
        assert client(method, path).status == status
    assert client("GET", "/usage").status == 200
    assert client("GET", "/history/export").status == 200
    keyed = {"Idempotency-Key": "once"}
    assert client("POST", "/tools", {"name": "k", "description": "k"}, keyed).status == 201
    assert client("POST", "/tools", {"name": "k", "description": "k"}, keyed).status == 201


def use_keys(client: Client) -> None:
    """Use every statement of a tenant's keys and audit log."""
    key = client("POST", "/keys", {"name": "key", "scopes": ["tools:read"]}).json
    for path in ("/keys", "/audit"):
        assert client("GET", f"{path}?include_total=true").status == 200
    assert client("GET", f"/keys/{key['id']}").status == 200
    assert client("POST", f"/keys/{key['id']}/rotate", {}).status == 201
    assert client("DELETE", f"/keys/{key['id']}").status == 204


def use_runs(client: Client, admin: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use every statement of runs that continue in the background, wait for approvals and fail."""
    model = Model(ask_for("guarded"), say())
    with scripted(monkeypatch, model, Outside()) as engine:
        tool = client.tool("guarded")
        agent = client.agent("Guarded", tool_ids=[tool["id"]])
        admin.execute("update app.tools set requires_approval = true")
        assert client("POST", f"/agents/{agent['id']}/run", RUN).status == 202  # handed over
        [run] = engine.queued
        with pytest.raises(Waiting):
            engine.work(run)
        path = f"/executions/{run.execution_id}"
        for way in ("", "/steps", "/events"):
            assert client("GET", path + way).status == 200
        for decision, status in (("approve", 200), ("reject", 409)):
            answer = client("POST", f"{path}/approvals/2", {"decision": decision})
            assert answer.status == status
        engine.work(run)
        assert client("POST", f"{path}/cancel").status == 409
        keyed = {"Idempotency-Key": "once"}
        for _ in range(2):
            assert client("POST", f"/agents/{agent['id']}/run", RUN, keyed).status == 200
        engine.away = True
        refused = client("POST", f"/agents/{agent['id']}/run", RUN, {"Prefer": "respond-async"})
        assert refused.status == 503
    with configured(database_user="map_sweeper"):
        assert sweep({}, Context())["recorded_key_uses"] == 1


def use_limits(client: Client, admin: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a run of a tenant with every limit, and runs that the limits refuse."""
    agent = client.agent("Limited")
    limit = "update app.tenants set runs_per_minute = 9, concurrent_runs = %s, tokens_per_day = %s"
    keyed = {"Idempotency-Key": "limited"}
    with scripted(monkeypatch, Model(say()), Outside()):
        for limits, headers, status in (
            ((1, 1_000_000), keyed, 200),
            ((1, 0), {}, 402),
            ((1, 0), keyed, 200),
        ):
            admin.execute(limit, limits)
            assert client("POST", f"/agents/{agent['id']}/run", RUN, headers).status == status
        admin.execute("update app.executions set stop_reason = 'budget_exceeded'")
        assert client("POST", f"/agents/{agent['id']}/run", RUN, keyed).status == 402
        admin.execute(limit, (1, None))
        admin.execute("update app.executions set status = 'queued'")
        assert client("POST", f"/agents/{agent['id']}/run", RUN).status == 429


def use_secrets(client: Client) -> None:
    """Use every operation on secrets, and start a run that looks for the tenant's own key."""
    sealing = "local:" + urlsafe_b64encode(bytes(32)).decode()
    with configured(secrets_key=sealing):
        for name in ("one", "two"):
            assert client("PUT", f"/secrets/{name}", {"value": "secret"}).status == 200
        assert client("GET", "/secrets?include_total=true").status == 200
        assert client("DELETE", "/secrets/one").status == 204
        run, once = f"/agents/{client.agent('Keyed')['id']}/run", {"Idempotency-Key": "keyed"}
        assert client("POST", run, RUN, once).status == 200


def use_admin(operating: Client) -> None:
    """Use every operation on tenants, refusals by the database included."""
    made = operating("POST", "/admin/tenants", {"name": "Acme"})
    assert made.status == 201
    path = f"/admin/tenants/{made.json['id']}"
    for method, way, body, status in (
        ("PUT", "", {"name": "new"}, 200),
        ("POST", "/keys", {"name": "another"}, 201),
        ("GET", "/usage", None, 200),
        ("POST", "/suspend", None, 200),
        ("POST", "/resume", None, 200),
        ("DELETE", "", None, 200),
        ("PUT", "", {"name": "new"}, 409),
    ):
        assert operating(method, path + way, body).status == status
    assert operating("DELETE", f"/admin/tenants/{api_keys.PLATFORM}").status == 409
    assert operating("GET", "/admin/tenants?include_total=true").status == 200
    keyed = {"Idempotency-Key": "once"}
    for _ in range(2):
        assert operating("POST", f"{path}/resume", None, keyed).status == 200


def test_the_apps_roles_send_known_statements_only_and_each_query_is_among_them(
    log: Log,
    make_tenant: MakeTenant,
    operating: Client,
    admin: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = api_keys.generate()
    client = Client(make_tenant(key=key))
    use_everything(client, key)
    use_keys(client)
    use_runs(client, admin, monkeypatch)
    use_secrets(client)
    use_admin(operating)
    use_limits(client, admin, monkeypatch)

    sent = list(log)

    assert [statement for statement in sent if not statement.is_allowed] == []
    assert {QUERIES[s.text] for s in sent if s.text in QUERIES} == set(query_names())
    assert {s.user for s in sent if "authenticate" in s.text} == {"map_authorizer"}
    assert {s.user for s in sent if QUERIES.get(s.text, "").startswith("admin/")} == {
        "map_operator"
    }


@pytest.mark.parametrize(
    "text",
    [
        "set statement_timeout = 1000",
        "select set_config('app.tenant_id', '', false)",
        "prepare p as select 1",
        "deallocate all",
        "begin; declare c cursor for select 1; commit",
        "listen c",
        "select pg_advisory_lock(1)",
        f"select '{'x' * MAX_BYTES}'",
    ],
)
def test_another_statement_would_be_found(postgres: backends.Server, log: Log, text: str) -> None:
    with connect(postgres, "map_api") as conn:
        conn.execute(text.encode())
    assert [statement.is_allowed for statement in log] == [False]


def test_a_known_statement_with_a_name_would_be_found(postgres: backends.Server, log: Log) -> None:
    ping = queries.load("system/ping")
    with connect(postgres, "map_api") as conn:
        conn.execute(ping)
        conn.execute(ping, prepare=True)
    assert [statement.is_allowed for statement in log] == [True, False]
