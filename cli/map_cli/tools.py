"""`map tools`."""

from typing import Annotated

import typer

from map_cli import output
from map_cli.options import Api, AsJson, Everything, Limit, given, given_json

app = typer.Typer(name="tools", help="What agents can use.", no_args_is_help=True)

COLUMNS = ("id", "name", "description", "requires_approval", "created_at")

Tool = Annotated[str, typer.Argument(help="Its name or id")]
Description = Annotated[str | None, typer.Option(help="What it does, for the model")]
Parameters = Annotated[
    str | None, typer.Option(help="What the model may give: JSON Schema, or @FILE with it")
]
Endpoint = Annotated[
    str | None,
    typer.Option(help='What it calls: {"method": …, "url": …, "headers": …}, or @FILE with it'),
]
Idempotent = Annotated[
    bool | None, typer.Option(help="Whether a call that a crash cut off may be made again")
]
RequiresApproval = Annotated[
    bool | None, typer.Option(help="Whether a person must approve each call")
]


@app.command("list")
def list_tools(
    api: Api,
    name: str | None = None,
    agent_name: str | None = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List tools, oldest first."""
    found = api.page("tools", limit=limit, everything=everything, name=name, agent_name=agent_name)
    output.page(found, COLUMNS, as_json=as_json)


@app.command("get")
def get_tool(api: Api, tool: Tool, as_json: AsJson = False) -> None:
    """Show a tool."""
    output.record(api.ask("GET", "tools", api.id_of("tools", name=tool)), as_json=as_json)


@app.command("create")
def create_tool(
    api: Api,
    name: str,
    description: Annotated[str, typer.Option(help="What it does, for the model")],
    parameters: Parameters = None,
    endpoint: Endpoint = None,
    idempotent: Idempotent = None,
    requires_approval: RequiresApproval = None,
    as_json: AsJson = False,
) -> None:
    """Create a tool."""
    tool = given(
        name=name,
        description=description,
        idempotent=idempotent,
        requires_approval=requires_approval,
    ) | given_json(parameters=parameters, endpoint=endpoint)
    output.record(api.ask("POST", "tools", body=tool), as_json=as_json)


@app.command("update")
def update_tool(
    api: Api,
    tool: Tool,
    name: Annotated[str | None, typer.Option(help="Its new name")] = None,
    description: Description = None,
    parameters: Parameters = None,
    endpoint: Endpoint = None,
    idempotent: Idempotent = None,
    requires_approval: RequiresApproval = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given; `null` takes parameters or endpoint away."""
    change = given(
        name=name,
        description=description,
        idempotent=idempotent,
        requires_approval=requires_approval,
    ) | given_json(parameters=parameters, endpoint=endpoint)
    changed = api.ask("PUT", "tools", api.id_of("tools", name=tool), body=change)
    output.record(changed, as_json=as_json)


@app.command("delete")
def delete_tool(api: Api, tool: Tool) -> None:
    """Delete a tool that no agent uses."""
    api.ask("DELETE", "tools", api.id_of("tools", name=tool))
    output.note("Deleted")
