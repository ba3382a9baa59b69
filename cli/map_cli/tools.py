"""`map tools`."""

from typing import Annotated

import typer

from map_cli import output
from map_cli.options import AllPages, Api, AsJson, Limit, fields, json_fields

app = typer.Typer(name="tools", help="Manage tools.", no_args_is_help=True)

COLUMNS = ("id", "name", "description", "requires_approval", "created_at")

Tool = Annotated[str, typer.Argument(help="Its name or id")]
Description = Annotated[str | None, typer.Option(help="What the tool does, for the model")]
Parameters = Annotated[
    str | None, typer.Option(help="JSON Schema of its arguments, or @FILE with it")
]
Endpoint = Annotated[
    str | None,
    typer.Option(help='Its endpoint: {"method": …, "url": …, "headers": …}, or @FILE with it'),
]
Idempotent = Annotated[
    bool | None, typer.Option(help="Whether an interrupted call may be repeated")
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
    all_pages: AllPages = False,
    as_json: AsJson = False,
) -> None:
    """List tools, oldest first."""
    found = api.page("tools", limit=limit, all_pages=all_pages, name=name, agent_name=agent_name)
    output.write_page(found, COLUMNS, as_json=as_json)


@app.command("get")
def get_tool(api: Api, tool: Tool, as_json: AsJson = False) -> None:
    """Show a tool."""
    output.write_record(api.call("GET", "tools", api.id_of("tools", name=tool)), as_json=as_json)


@app.command("create")
def create_tool(
    api: Api,
    name: str,
    description: Annotated[str, typer.Option(help="What the tool does, for the model")],
    parameters: Parameters = None,
    endpoint: Endpoint = None,
    idempotent: Idempotent = None,
    requires_approval: RequiresApproval = None,
    as_json: AsJson = False,
) -> None:
    """Create a tool."""
    tool = fields(
        name=name,
        description=description,
        idempotent=idempotent,
        requires_approval=requires_approval,
    ) | json_fields(parameters=parameters, endpoint=endpoint)
    output.write_record(api.call("POST", "tools", body=tool), as_json=as_json)


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
    """Change the fields that are given; `null` removes parameters or endpoint."""
    change = fields(
        name=name,
        description=description,
        idempotent=idempotent,
        requires_approval=requires_approval,
    ) | json_fields(parameters=parameters, endpoint=endpoint)
    changed = api.call("PUT", "tools", api.id_of("tools", name=tool), body=change)
    output.write_record(changed, as_json=as_json)


@app.command("delete")
def delete_tool(api: Api, tool: Tool) -> None:
    """Delete a tool that no agent uses."""
    api.call("DELETE", "tools", api.id_of("tools", name=tool))
    output.note("Deleted")
