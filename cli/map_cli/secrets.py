"""`map secrets`."""

import typer

from map_cli import output
from map_cli.options import Api, AsJson, Everything, Limit, ask_secret

app = typer.Typer(
    name="secrets", help="What tools need and nothing tells again.", no_args_is_help=True
)

COLUMNS = ("name", "created_at", "updated_at")


@app.command("list")
def list_secrets(
    api: Api, limit: Limit = 20, everything: Everything = False, as_json: AsJson = False
) -> None:
    """List the names of secrets, oldest first."""
    found = api.page("secrets", limit=limit, everything=everything)
    output.page(found, COLUMNS, as_json=as_json)


@app.command("set")
def set_secret(api: Api, name: str, as_json: AsJson = False) -> None:
    """Set a secret: its value is asked for, or read from stdin."""
    value = ask_secret(f"Value of {name}")
    output.record(api.ask("PUT", "secrets", name, body={"value": value}), as_json=as_json)


@app.command("delete")
def delete_secret(api: Api, name: str) -> None:
    """Delete a secret; tools that name it fail from then on."""
    api.ask("DELETE", "secrets", name)
    output.note("Deleted")
