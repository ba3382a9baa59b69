"""`map secrets`."""

import typer

from map_cli import output
from map_cli.options import AllPages, Api, AsJson, Limit, ask_secret

app = typer.Typer(name="secrets", help="Manage the secrets that tools use.", no_args_is_help=True)

COLUMNS = ("name", "created_at", "updated_at")


@app.command("list")
def list_secrets(
    api: Api, limit: Limit = 20, all_pages: AllPages = False, as_json: AsJson = False
) -> None:
    """List the names of secrets, oldest first."""
    found = api.page("secrets", limit=limit, all_pages=all_pages)
    output.write_page(found, COLUMNS, as_json=as_json)


@app.command("set")
def set_secret(api: Api, name: str, as_json: AsJson = False) -> None:
    """Set a secret; its value is asked for, or read from stdin."""
    value = ask_secret(f"Value of {name}")
    output.write_record(api.call("PUT", "secrets", name, body={"value": value}), as_json=as_json)


@app.command("delete")
def delete_secret(api: Api, name: str) -> None:
    """Delete a secret; calls of tools that name it fail from now on."""
    api.call("DELETE", "secrets", name)
    output.note("Deleted")
