"""No order of requests lets a tenant see or touch what is another's.

The same machine runs against databases with one guard removed, to show that it would notice.
"""

from uuid import uuid4

import pytest
from hypothesis import Phase

from local import backends
from tests.databases import database_of_its_own
from tests.integration.isolation_machine import Platform, run_the_machine

STEPS = 1000


def test_no_order_of_requests_lets_one_of_three_tenants_see_or_touch_anothers_things(
    postgres: backends.Server, redis_server: backends.Server
) -> None:
    Platform.steps = 0
    with database_of_its_own(postgres, "machine") as admin:
        while Platform.steps < STEPS:  # hypothesis may end a history early
            run_the_machine(admin, max_examples=12)


UNGUARDED = {
    "no policy on tools": """
        drop policy tenant_isolation on app.tools;
        create policy tenant_isolation on app.tools using (true)""",
    "no policy on agents": """
        drop policy tenant_isolation on app.agents;
        create policy tenant_isolation on app.agents using (true)""",
    "no policy on agent_tools": """
        drop policy tenant_isolation on app.agent_tools;
        create policy tenant_isolation on app.agent_tools using (true)""",
    "no policy on executions": """
        drop policy tenant_isolation on app.executions;
        create policy tenant_isolation on app.executions using (true)""",
    "an agent's tool is known by its id alone": """
        alter table app.tools add constraint tools_id unique (id);
        alter table app.agent_tools drop constraint agent_tools_tool_known;
        alter table app.agent_tools add constraint agent_tools_tool_known
            foreign key (tool_id) references app.tools (id)""",
    "a tool's name is unique across tenants": """
        alter table app.tools drop constraint tools_name_unique;
        alter table app.tools add constraint tools_name_unique unique (name)""",
}


@pytest.mark.parametrize("change", UNGUARDED.values(), ids=UNGUARDED)
def test_the_machine_notices_a_missing_guard(
    postgres: backends.Server, redis_server: backends.Server, change: str
) -> None:
    name = f"machine_{uuid4().hex}"
    with database_of_its_own(postgres, name) as admin:
        admin.execute(change)
        with pytest.raises(AssertionError):
            # The same histories each time, and told as found: shrinking would only take time.
            run_the_machine(
                admin, max_examples=100, derandomize=True, database=None, phases=[Phase.generate]
            )
