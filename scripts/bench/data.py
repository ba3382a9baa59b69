"""What the bench's database holds: one tenant with a small catalogue, one with a long history."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.bench.stack import Stack

KEY, TENANT = "tenant-a-key", "11111111-1111-1111-1111-111111111111"
LARGEST_OFFSET = 10_000  # that the API takes
PLATFORM = "00000000-0000-0000-0000-000000000000"
HISTORIAN = "22222222-2222-2222-2222-222222222222"


@dataclass(frozen=True)
class Data:
    """The names of things in the database; all plain, so that it can be written as JSON."""

    digest: str
    caller: dict[str, str]
    tool: str
    agent: str
    execution: str
    spare_tools: list[str]
    spare_agents: list[str]
    spare_runs: list[str]
    spare_approvals: list[str]
    spare_secrets: list[str]
    operators_key: str
    operator: dict[str, str]
    tenant: str
    spare_keys: list[str]
    spare_tenants: list[str]


@dataclass(frozen=True)
class History:
    """A long history, and the execution nine tenths down it."""

    caller: dict[str, str]
    deep: int
    api_offset: int
    deep_id: str
    deep_time: str


def fill(stack: Stack, spares: int) -> Data:
    """Fill the small tenant: 100 tools and agents, 1 000 executions, and spares to delete."""
    operators_key, operator = _operator(stack)
    with stack.admin() as conn:
        conn.execute("update app.tenants set requests_per_minute = 1000000")

        def many(sql: str, number: int) -> list[str]:
            rows = conn.execute(sql.encode(), {"tenant": TENANT, "number": number})
            return [str(row_id) for (row_id,) in rows]

        tool = (
            "insert into app.tools (tenant_id, name, description) select %(tenant)s, '{} ' || i,"
            " 'Search the web for real-time information' from generate_series(1, %(number)s) i"
            " returning id"
        )
        agent = (
            "insert into app.agents (tenant_id, name, role, description) select %(tenant)s,"
            " '{} ' || i, 'researcher', 'Finds things out' from generate_series(1, %(number)s) i"
            " returning id"
        )
        tools, agents = many(tool.format("a tool"), 100), many(agent.format("an agent"), 100)
        conn.execute(
            "insert into app.agent_tools (tenant_id, agent_id, tool_id)"
            " select %s, a, t from unnest(%s::uuid[]) a, unnest(%s::uuid[]) t",
            (TENANT, agents, tools[:2]),
        )
        execution = (
            "insert into app.executions (tenant_id, agent_id, agent_name, model, prompt, response,"
            " status) select %(tenant)s, gen_random_uuid(), 'Ann', 'gpt-4o', 'What is new?',"
            " repeat('x', 200), 'completed' from generate_series(1, %(number)s) returning id"
        )
        executions = many(execution, 1000)
        run = (
            "insert into app.executions (tenant_id, agent_id, agent_name, model, prompt, status)"
            " select %(tenant)s, gen_random_uuid(), 'Ann', 'gpt-4o', 'What is new?', '{}'"
            " from generate_series(1, %(number)s) returning id"
        )
        approvals = many(run.format("waiting_approval"), spares)
        conn.execute(
            "insert into app.execution_steps (tenant_id, execution_id, number, kind, status,"
            " attempt, tool, expires_at) select %s, id, 1, 'approval', 'waiting', 1, 'mail',"
            " now() + interval '1 day' from unnest(%s::uuid[]) id",
            (TENANT, approvals),
        )
        ciphertexts = (
            "insert into app.secrets (tenant_id, name, ciphertext) select %(tenant)s,"
            " 'spare-' || i, '\\x00' from generate_series(1, %(number)s) i returning name"
        )
        key = (
            "insert into app.api_keys (tenant_id, name, digest, pepper_version, prefix, last_four,"
            " scopes) select %(tenant)s, 'spare', sha256(gen_random_uuid()::text::bytea), 1,"
            " 'map_live_', 'none', '{tools:read}' from generate_series(1, %(number)s) returning id"
        )
        tenant = (
            "insert into app.tenants (name) select 'spare' from generate_series(1, %(number)s)"
            " returning id"
        )
        [digest] = conn.execute(
            "select encode(digest, 'hex') from app.api_keys where tenant_id = %s", (TENANT,)
        ).fetchone() or [""]
        data = Data(
            digest=digest,
            caller=_caller(stack, TENANT),
            tool=tools[0],
            agent=agents[0],
            execution=executions[0],
            spare_tools=many(tool.format("a spare"), spares),
            spare_agents=many(agent.format("a spare"), spares),
            spare_runs=many(run.format("queued"), spares),
            spare_approvals=approvals,
            spare_secrets=many(ciphertexts, spares),
            operators_key=operators_key,
            operator=operator,
            tenant=many(tenant, 1)[0],
            spare_keys=many(key, spares),
            spare_tenants=many(tenant, spares),
        )
    _settle(stack)
    return data


def _operator(stack: Stack) -> tuple[str, dict[str, str]]:
    """Have an operator's key made; return it, and the authorizer's context of it."""
    request = urllib.request.Request(  # noqa: S310 - on this machine
        f"{(stack.folder / 'lambda-url').read_text()}/2015-03-31/functions/MigrateFunction"
        "/invocations",
        json.dumps({"bootstrap": "bench"}).encode(),
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - see above
        made = json.load(answer)
    context = {"tenant_id": PLATFORM, "key_id": made["key_id"], "scopes": "platform:admin"}
    return made["key"], context | {"requests_per_minute": "1000000"}


def fill_history(stack: Stack, rows: int) -> History:
    """Fill the other tenant's history: a row each second, back from now, of one agent."""
    deep = rows * 9 // 10
    with stack.admin() as conn:
        conn.execute(
            "insert into app.executions"
            " (tenant_id, agent_id, agent_name, model, prompt, response, status, created_at)"
            " select %s, gen_random_uuid(), 'Ann', 'gpt-4o', 'What is new?', repeat('x', 200),"
            " 'completed', now() - i * interval '1 second' from generate_series(1, %s) i",
            (HISTORIAN, rows),
        )
        [deep_id, deep_time] = conn.execute(
            "select id::text, to_json(created_at)::text from app.executions where tenant_id = %s"
            " order by created_at desc, id desc limit 1 offset %s",
            (HISTORIAN, deep),
        ).fetchone() or ["", ""]
    _settle(stack)
    offset = min(deep, LARGEST_OFFSET)
    return History(_caller(stack, HISTORIAN), deep, offset, deep_id, deep_time.strip('"'))


def _caller(stack: Stack, tenant: str) -> dict[str, str]:
    """Return the authorizer's context of a tenant's key, which has the tenant's id."""
    with stack.admin() as conn:
        [scopes] = conn.execute(
            "select array_to_string(scopes, ' ') from app.api_keys where tenant_id = %s", (tenant,)
        ).fetchone() or [""]
    limit = "1000000"
    return {"tenant_id": tenant, "key_id": tenant, "scopes": scopes, "requests_per_minute": limit}


def _settle(stack: Stack) -> None:
    """Do now what autovacuum and the checkpointer would do in the middle of a measurement."""
    with stack.admin() as conn:
        conn.autocommit = True
        conn.execute("vacuum analyze")
        conn.execute("checkpoint")
