"""Three tenants do anything in any order with each other's ids; a model knows what they may see.

After each step the database is compared with the model, so a row that reached the wrong tenant is
found even where another guard hides it from every answer.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import TABLES
from tests.databases import Connection, new_tenant
from tests.events import Answer
from tests.integration.client import Client

whose = st.integers(0, 2)
names = st.sampled_from(["ant", "bee", "cat"])
paths = st.sampled_from(["/tools", "/agents", "/history"])
texts = st.sampled_from(["one", "two"])
Json = dict[str, Any]


@dataclass
class Tenant:
    """What a tenant has, by id in the order of creation; an agent's tools are ids here."""

    ask: Client
    tools: dict[str, Json] = field(default_factory=dict)
    agents: dict[str, Json] = field(default_factory=dict)
    executions: dict[str, Json] = field(default_factory=dict)

    @property
    def id(self) -> str:
        assert self.ask.caller
        return str(self.ask.caller.tenant_id)

    def shown(self, agent_id: str) -> Json:
        agent = self.agents[agent_id]
        used = [tool for tool_id, tool in self.tools.items() if tool_id in agent["tools"]]
        return {**agent, "tools": used}

    def users(self, tool_id: str) -> list[Json]:
        return [agent for agent in self.agents.values() if tool_id in agent["tools"]]

    def foreign(self, tool_ids: list[str]) -> list[str]:
        return sorted(set(tool_ids) - self.tools.keys())

    def listed(self, path: str, query: str = "") -> list[Json]:
        """Everything of a list, by pages of two."""
        items: list[Json] = []
        cursor = ""
        while True:
            page = self.page(path, f"limit=2&include_total=true{query}{cursor}")
            items += page["items"]
            if not page["has_more"]:
                assert page["total"] == len(items)
                return items
            cursor = f"&cursor={page['next_cursor']}"

    def page(self, path: str, query: str) -> Json:
        answer = self.ask("GET", f"{path}?{query}")
        assert answer.status == 200
        page: Json = answer.json
        return page


def without_time(execution: Json) -> Json:
    """An execution without its end, which the model cannot know."""
    assert execution.pop("duration_ms") >= 0
    assert execution.pop("finished_at") >= execution["created_at"]
    return execution


def taken(things: dict[str, Json], name: str | None, but: str = "") -> bool:
    return any(thing["name"] == name for key, thing in things.items() if key != but)


def refused(answer: Answer, status: int, code: str, **details: object) -> None:
    assert answer.status == status
    assert (answer.error_code, answer.json["details"]) == (code, details)


class Platform(RuleBasedStateMachine):
    admin: ClassVar[Connection]
    steps: ClassVar[int] = 0

    # Ids of all tenants, gone ones too, and one that never was.
    tools = Bundle("tools")
    agents = Bundle("agents")
    executions = Bundle("executions")
    cursors = Bundle("cursors")

    def __init__(self) -> None:
        super().__init__()
        self.admin.execute(f"truncate {TABLES}")
        self.tenants = [Tenant(Client(new_tenant(self.admin))) for _ in range(3)]
        for tenant in self.tenants:
            tool = self.make_tool(tenant, "ant", "one")
            self.make_run(tenant, self.make_agent(tenant, "ant", [tool]))

    @initialize(target=tools)
    def first_tools(self) -> Any:
        return multiple(str(uuid4()), *(tool for t in self.tenants for tool in t.tools))

    @initialize(target=agents)
    def first_agents(self) -> Any:
        return multiple(str(uuid4()), *(agent for t in self.tenants for agent in t.agents))

    @initialize(target=executions)
    def first_executions(self) -> Any:
        return multiple(str(uuid4()), *(run for t in self.tenants for run in t.executions))

    def turn(self, who: int) -> Tenant:
        Platform.steps += 1
        return self.tenants[who]

    @rule(target=tools, who=whose, name=names, text=texts)
    def create_tool(self, who: int, name: str, text: str) -> Any:
        return self.make_tool(self.turn(who), name, text)

    def make_tool(self, tenant: Tenant, name: str, text: str) -> Any:
        answer = tenant.ask("POST", "/tools", {"name": name, "description": text})
        if taken(tenant.tools, name):
            refused(answer, 409, "DUPLICATE_TOOL_NAME", name=name)
            return multiple()
        assert answer.status == 201
        tenant.tools[answer.json["id"]] = answer.json
        return answer.json["id"]

    @rule(who=whose, tool=tools)
    def read_tool(self, who: int, tool: str) -> None:
        tenant = self.turn(who)
        answer = tenant.ask("GET", f"/tools/{tool}")
        if tool not in tenant.tools:
            return refused(answer, 404, "TOOL_NOT_FOUND", tool_id=tool)
        assert (answer.status, answer.json) == (200, tenant.tools[tool])
        return None

    @rule(
        who=whose,
        tool=tools,
        change=st.fixed_dictionaries({}, optional={"name": names, "description": texts}),
    )
    def update_tool(self, who: int, tool: str, change: Json) -> None:
        tenant = self.turn(who)
        answer = tenant.ask("PUT", f"/tools/{tool}", change)
        if tool not in tenant.tools:
            return refused(answer, 404, "TOOL_NOT_FOUND", tool_id=tool)
        if taken(tenant.tools, change.get("name"), but=tool):
            return refused(answer, 409, "DUPLICATE_TOOL_NAME", name=change["name"])
        assert answer.status == 200
        tenant.tools[tool] |= change | {"updated_at": answer.json["updated_at"]}
        assert answer.json == tenant.tools[tool]
        return None

    @rule(who=whose, tool=tools)
    def delete_tool(self, who: int, tool: str) -> None:
        tenant = self.turn(who)
        answer = tenant.ask("DELETE", f"/tools/{tool}")
        if tool not in tenant.tools:
            return refused(answer, 404, "TOOL_NOT_FOUND", tool_id=tool)
        if users := tenant.users(tool):
            dependent = [{"id": agent["id"], "name": agent["name"]} for agent in users]
            return refused(answer, 409, "TOOL_IN_USE", dependent_agents=dependent)
        assert answer.status == 204
        del tenant.tools[tool]
        return None

    @rule(target=agents, who=whose, name=names, used=st.lists(tools, max_size=3))
    def create_agent(self, who: int, name: str, used: list[str]) -> Any:
        return self.make_agent(self.turn(who), name, used)

    def make_agent(self, tenant: Tenant, name: str, used: list[str]) -> Any:
        body = {"name": name, "role": "helper", "description": "Helps", "tool_ids": used}
        answer = tenant.ask("POST", "/agents", body)
        if taken(tenant.agents, name):
            refused(answer, 409, "DUPLICATE_AGENT_NAME", name=name)
            return multiple()
        if foreign := tenant.foreign(used):
            refused(answer, 403, "CROSS_TENANT_TOOL", tool_ids=foreign)
            return multiple()
        assert answer.status == 201
        agent_id = answer.json["id"]
        tenant.agents[agent_id] = {**answer.json, "tools": set(used)}
        assert answer.json == tenant.shown(agent_id)
        return agent_id

    @rule(who=whose, agent=agents)
    def read_agent(self, who: int, agent: str) -> None:
        tenant = self.turn(who)
        answer = tenant.ask("GET", f"/agents/{agent}")
        if agent not in tenant.agents:
            return refused(answer, 404, "AGENT_NOT_FOUND", agent_id=agent)
        assert (answer.status, answer.json) == (200, tenant.shown(agent))
        return None

    @rule(
        who=whose,
        agent=agents,
        change=st.fixed_dictionaries(
            {}, optional={"name": names, "tool_ids": st.lists(tools, max_size=3)}
        ),
    )
    def update_agent(self, who: int, agent: str, change: Json) -> None:
        tenant = self.turn(who)
        answer = tenant.ask("PUT", f"/agents/{agent}", change)
        if agent not in tenant.agents:
            return refused(answer, 404, "AGENT_NOT_FOUND", agent_id=agent)
        if taken(tenant.agents, change.get("name"), but=agent):
            return refused(answer, 409, "DUPLICATE_AGENT_NAME", name=change["name"])
        known = tenant.agents[agent]
        used = change.get("tool_ids", list(known["tools"]))
        if foreign := tenant.foreign(used):
            return refused(answer, 403, "CROSS_TENANT_TOOL", tool_ids=foreign)
        assert answer.status == 200
        known |= {
            "name": change.get("name", known["name"]),
            "tools": set(used),
            "updated_at": answer.json["updated_at"],
        }
        assert answer.json == tenant.shown(agent)
        return None

    @rule(who=whose, agent=agents)
    def delete_agent(self, who: int, agent: str) -> None:
        tenant = self.turn(who)
        answer = tenant.ask("DELETE", f"/agents/{agent}")
        if agent not in tenant.agents:
            return refused(answer, 404, "AGENT_NOT_FOUND", agent_id=agent)
        assert answer.status == 204
        del tenant.agents[agent]
        return None

    @rule(target=executions, who=whose, agent=agents)
    def run_agent(self, who: int, agent: str) -> Any:
        return self.make_run(self.turn(who), agent)

    def make_run(self, tenant: Tenant, agent: str) -> Any:
        asked = {"prompt": "Why?", "model": "gpt-4o"}
        answer = tenant.ask("POST", f"/agents/{agent}/run", asked)
        if agent not in tenant.agents:
            details = {"resource_type": "agent", "resource_id": agent}
            refused(answer, 403, "TENANT_ISOLATION_VIOLATION", **details)
            return multiple()
        assert answer.status == 200
        made, shown = answer.json, tenant.shown(agent)
        assert made["tools_available"] == [tool["name"] for tool in shown["tools"]]
        tenant.executions[made["execution_id"]] = asked | {
            "id": made["execution_id"],
            "agent_id": agent,
            "agent_name": shown["name"],
            "response": made["response"],
            "status": "completed",
            "warning": made["warning"],
            "created_at": made["executed_at"],
            "started_at": made["executed_at"],
            "stop_reason": "answered",
            **made["usage"],
        }
        return made["execution_id"]

    @rule(who=whose, execution=executions)
    def read_execution(self, who: int, execution: str) -> None:
        tenant = self.turn(who)
        answer = tenant.ask("GET", f"/history/{execution}")
        if execution not in tenant.executions:
            return refused(answer, 404, "EXECUTION_NOT_FOUND", execution_id=execution)
        assert (answer.status, without_time(answer.json)) == (200, tenant.executions[execution])
        return None

    @rule(who=whose, agent_name=names)
    def list_tools(self, who: int, agent_name: str) -> None:
        tenant = self.turn(who)
        assert tenant.listed("/tools") == list(tenant.tools.values())
        shown = map(tenant.shown, tenant.agents)
        used = [agent["tools"] for agent in shown if agent["name"] == agent_name]
        assert tenant.listed("/tools", f"&agent_name={agent_name}") == (used[0] if used else [])

    @rule(who=whose, tool_name=names)
    def list_agents(self, who: int, tool_name: str) -> None:
        tenant = self.turn(who)
        agents = [tenant.shown(agent) for agent in tenant.agents]
        assert tenant.listed("/agents") == agents
        assert tenant.listed("/agents", f"&tool_name={tool_name}") == [
            agent for agent in agents if tool_name in [tool["name"] for tool in agent["tools"]]
        ]

    @rule(who=whose, agent=agents)
    def list_history(self, who: int, agent: str) -> None:
        tenant = self.turn(who)
        newest_first = list(tenant.executions.values())[::-1]
        assert [without_time(run) for run in tenant.listed("/history")] == newest_first
        of_agent = tenant.listed("/history", f"&agent_id={agent}")
        assert [without_time(run) for run in of_agent] == [
            execution for execution in newest_first if execution["agent_id"] == agent
        ]

    @rule(target=cursors, who=whose, path=paths)
    def keep_a_cursor(self, who: int, path: str) -> Any:
        cursor = self.turn(who).page(path, "limit=1")["next_cursor"]
        return (who, path, cursor) if cursor else multiple()

    @rule(who=whose, held=cursors)
    def use_a_cursor(self, who: int, held: tuple[int, str, str]) -> None:
        owner, path, cursor = held
        tenant = self.turn(who)
        answer = tenant.ask("GET", f"{path}?limit=1&cursor={cursor}")
        if who != owner:
            assert (answer.status, answer.error_code) == (422, "VALIDATION_ERROR")
        else:
            own = {
                "/tools": tenant.tools,
                "/agents": tenant.agents,
                "/history": tenant.executions,
            }[path]
            assert answer.status == 200
            assert {item["id"] for item in answer.json["items"]} <= own.keys()

    @invariant()
    def the_database_holds_what_the_model_says(self) -> None:
        expected = set()
        for tenant in self.tenants:
            expected |= {(tenant.id, i, t["name"]) for i, t in tenant.tools.items()}
            expected |= {(tenant.id, i, a["name"]) for i, a in tenant.agents.items()}
            expected |= {(tenant.id, i, t) for i, a in tenant.agents.items() for t in a["tools"]}
            expected |= {(tenant.id, i, e["agent_id"]) for i, e in tenant.executions.items()}
        rows = self.admin.execute(
            "select tenant_id::text, id::text, name from app.tools"
            " union all select tenant_id::text, id::text, name from app.agents"
            " union all select tenant_id::text, agent_id::text, tool_id::text from app.agent_tools"
            " union all select tenant_id::text, id::text, agent_id::text from app.executions"
        ).fetchall()
        assert set(rows) == expected


def run_the_machine(admin: Connection, **options: Any) -> None:
    """Run the machine, some dozen histories of up to 50 steps each."""
    Platform.admin = admin
    run_state_machine_as_test(
        Platform, settings=settings(deadline=None, stateful_step_count=50, **options)
    )
