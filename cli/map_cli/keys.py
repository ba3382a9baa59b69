"""`map keys`."""

from typing import Annotated
from uuid import UUID

import typer

from map_cli import output
from map_cli.options import AllPages, Api, AsJson, Days, Limit, fields

app = typer.Typer(name="keys", help="Manage API keys.", no_args_is_help=True)

COLUMNS = ("id", "name", "last_four", "scopes", "expires_at", "revoked_at", "last_used_at")

KeyId = Annotated[UUID, typer.Argument(metavar="ID", help="Id of a key, from `map keys list`")]


@app.command("list")
def list_keys(
    api: Api,
    name: str | None = None,
    limit: Limit = 20,
    all_pages: AllPages = False,
    as_json: AsJson = False,
) -> None:
    """List keys, oldest first, including expired and revoked ones."""
    found = api.page("keys", limit=limit, all_pages=all_pages, name=name)
    output.write_page(found, COLUMNS, as_json=as_json)


@app.command("create")
def create_key(
    api: Api,
    name: str,
    scopes: Annotated[
        list[str], typer.Option("--scope", help="A scope, such as runs:write; may be repeated")
    ],
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Create a key, with scopes that your own key has."""
    key = fields(name=name, scopes=scopes, expires_in_days=expires_in_days)
    output.write_new_key(api.call("POST", "keys", body=key), as_json=as_json)


@app.command("rotate")
def rotate_key(
    api: Api,
    key: KeyId,
    overlap_seconds: Annotated[
        int | None, typer.Option(help="How long the old key still works; a day by default")
    ] = None,
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key with a new one; the old key expires after the overlap."""
    body = fields(overlap_seconds=overlap_seconds, expires_in_days=expires_in_days)
    output.write_new_key(api.call("POST", "keys", key, "rotate", body=body), as_json=as_json)


@app.command("revoke")
def revoke_key(api: Api, key: KeyId) -> None:
    """End a key at once and forever."""
    api.call("DELETE", "keys", key)
    output.note("Revoked")
