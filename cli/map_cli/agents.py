"""`map agents`."""

from typing import Annotated

import typer

from map_cli import output
from map_cli.client import Client
from map_cli.options import Api, AsJson, Everything, Limit, given

app = typer.Typer(name="agents", help="Who is asked.", no_args_is_help=True)

COLUMNS = ("id", "name", "role", "tools", "created_at")

Agent = Annotated[str, typer.Argument(help="Its name or id")]
Tools = Annotated[
    list[str] | None, typer.Option("--tool", help="A tool it has, by name or id; repeat it")
]


@app.command("list")
def list_agents(
    api: Api,
    name: str | None = None,
    role: str | None = None,
    tool_name: str | None = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List agents, oldest first."""
    found = api.page(
        "agents", limit=limit, everything=everything, name=name, role=role, tool_name=tool_name
    )
    output.page(found, COLUMNS, as_json=as_json)


@app.command("get")
def get_agent(api: Api, agent: Agent, as_json: AsJson = False) -> None:
    """Show an agent."""
    output.record(api.ask("GET", "agents", api.id_of("agents", name=agent)), as_json=as_json)


@app.command("create")
def create_agent(
    api: Api,
    name: str,
    role: Annotated[str, typer.Option(help="What it is, such as researcher")],
    description: Annotated[str, typer.Option(help="What it does")],
    tools: Tools = None,
    as_json: AsJson = False,
) -> None:
    """Create an agent."""
    agent = given(name=name, role=role, description=description, tool_ids=_ids(api, tools))
    output.record(api.ask("POST", "agents", body=agent), as_json=as_json)


@app.command("update")
def update_agent(
    api: Api,
    agent: Agent,
    name: Annotated[str | None, typer.Option(help="Its new name")] = None,
    role: str | None = None,
    description: str | None = None,
    tools: Tools = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Take all tools away")] = False,
    as_json: AsJson = False,
) -> None:
    """Change what is given; the tools given are all that it has from then on."""
    tool_ids = [] if no_tools else _ids(api, tools)
    change = given(name=name, role=role, description=description, tool_ids=tool_ids)
    changed = api.ask("PUT", "agents", api.id_of("agents", name=agent), body=change)
    output.record(changed, as_json=as_json)


@app.command("delete")
def delete_agent(api: Api, agent: Agent) -> None:
    """Delete an agent; its history stays."""
    api.ask("DELETE", "agents", api.id_of("agents", name=agent))
    output.note("Deleted")


def _ids(api: Client, tools: list[str] | None) -> list[str] | None:
    return None if tools is None else [api.id_of("tools", name=tool) for tool in tools]
