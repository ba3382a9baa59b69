"""`map keys`."""

from typing import Annotated
from uuid import UUID

import typer

from map_cli import output
from map_cli.options import Api, AsJson, Days, Everything, Limit, given

app = typer.Typer(name="keys", help="Who may call.", no_args_is_help=True)

COLUMNS = ("id", "name", "last_four", "scopes", "expires_at", "revoked_at", "last_used_at")

KeyId = Annotated[UUID, typer.Argument(metavar="ID", help="As `map keys list` shows it")]


@app.command("list")
def list_keys(
    api: Api,
    name: str | None = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List keys, oldest first, those that have ended too."""
    found = api.page("keys", limit=limit, everything=everything, name=name)
    output.page(found, COLUMNS, as_json=as_json)


@app.command("create")
def create_key(
    api: Api,
    name: str,
    scopes: Annotated[
        list[str], typer.Option("--scope", help="What it may do, such as runs:write; repeat it")
    ],
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Create a key that may do no more than yours."""
    key = given(name=name, scopes=scopes, expires_in_days=expires_in_days)
    output.made(api.ask("POST", "keys", body=key), as_json=as_json)


@app.command("rotate")
def rotate_key(
    api: Api,
    key: KeyId,
    overlap_seconds: Annotated[
        int | None, typer.Option(help="How long the old key still works; else a day")
    ] = None,
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Create a key in another's place, which ends after the overlap."""
    body = given(overlap_seconds=overlap_seconds, expires_in_days=expires_in_days)
    output.made(api.ask("POST", "keys", key, "rotate", body=body), as_json=as_json)


@app.command("revoke")
def revoke_key(api: Api, key: KeyId) -> None:
    """End a key at once and for good."""
    api.ask("DELETE", "keys", key)
    output.note("Revoked")
