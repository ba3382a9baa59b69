"""`map agents`."""

from typing import Annotated

import typer

from map_cli import output
from map_cli.client import Client
from map_cli.options import AllPages, Api, AsJson, Limit, fields

app = typer.Typer(name="agents", help="Manage agents.", no_args_is_help=True)

COLUMNS = ("id", "name", "role", "tools", "created_at")

Agent = Annotated[str, typer.Argument(help="Its name or id")]
Tools = Annotated[
    list[str] | None, typer.Option("--tool", help="Name or id of a tool it uses; may be repeated")
]


@app.command("list")
def list_agents(
    api: Api,
    name: str | None = None,
    role: str | None = None,
    tool_name: str | None = None,
    limit: Limit = 20,
    all_pages: AllPages = False,
    as_json: AsJson = False,
) -> None:
    """List agents, oldest first."""
    found = api.page(
        "agents", limit=limit, all_pages=all_pages, name=name, role=role, tool_name=tool_name
    )
    output.write_page(found, COLUMNS, as_json=as_json)


@app.command("get")
def get_agent(api: Api, agent: Agent, as_json: AsJson = False) -> None:
    """Show an agent."""
    output.write_record(api.call("GET", "agents", api.id_of("agents", name=agent)), as_json=as_json)


@app.command("create")
def create_agent(
    api: Api,
    name: str,
    role: Annotated[str, typer.Option(help="Its role, such as researcher")],
    description: Annotated[str, typer.Option(help="What it does")],
    tools: Tools = None,
    as_json: AsJson = False,
) -> None:
    """Create an agent."""
    agent = fields(name=name, role=role, description=description, tool_ids=_ids(api, tools))
    output.write_record(api.call("POST", "agents", body=agent), as_json=as_json)


@app.command("update")
def update_agent(
    api: Api,
    agent: Agent,
    name: Annotated[str | None, typer.Option(help="Its new name")] = None,
    role: str | None = None,
    description: str | None = None,
    tools: Tools = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Remove all its tools")] = False,
    as_json: AsJson = False,
) -> None:
    """Change the fields that are given. The tools given replace all tools it has."""
    tool_ids = [] if no_tools else _ids(api, tools)
    change = fields(name=name, role=role, description=description, tool_ids=tool_ids)
    changed = api.call("PUT", "agents", api.id_of("agents", name=agent), body=change)
    output.write_record(changed, as_json=as_json)


@app.command("delete")
def delete_agent(api: Api, agent: Agent) -> None:
    """Delete an agent; its history is kept."""
    api.call("DELETE", "agents", api.id_of("agents", name=agent))
    output.note("Deleted")


def _ids(api: Client, tools: list[str] | None) -> list[str] | None:
    return None if tools is None else [api.id_of("tools", name=tool) for tool in tools]
