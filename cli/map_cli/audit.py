"""`map audit`: who changed what."""

from typing import Annotated

import typer

from map_cli import output
from map_cli.options import After, Api, AsJson, Before, Everything, Limit

COLUMNS = ("created_at", "actor", "key_id", "action", "target_type", "target_id", "address")

Action = Annotated[str | None, typer.Option(help="What was done")]
KeyUsed = Annotated[str | None, typer.Option("--key-id", help="By which key")]
TargetType = Annotated[str | None, typer.Option(help="To what kind of thing")]
TargetId = Annotated[str | None, typer.Option(help="To which one")]


def list_entries(
    api: Api,
    action: Action = None,
    key_id: KeyUsed = None,
    target_type: TargetType = None,
    target_id: TargetId = None,
    created_after: After = None,
    created_before: Before = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List who changed what, newest first; --json shows from what to what."""
    found = api.page(
        "audit",
        limit=limit,
        everything=everything,
        action=action,
        key_id=key_id,
        target_type=target_type,
        target_id=target_id,
        created_after=created_after,
        created_before=created_before,
    )
    output.page(found, COLUMNS, as_json=as_json)
