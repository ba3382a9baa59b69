"""`map audit`."""

from typing import Annotated

import typer

from map_cli import output
from map_cli.options import AllPages, Api, AsJson, CreatedAfter, CreatedBefore, Limit

COLUMNS = ("created_at", "actor", "key_id", "action", "target_type", "target_id", "address")

Action = Annotated[str | None, typer.Option(help="The action, such as key.created")]
KeyUsed = Annotated[str | None, typer.Option("--key-id", help="Id of the key that was used")]
TargetType = Annotated[str | None, typer.Option(help="Type of the changed resource")]
TargetId = Annotated[str | None, typer.Option(help="Id of the changed resource")]


def list_entries(
    api: Api,
    action: Action = None,
    key_id: KeyUsed = None,
    target_type: TargetType = None,
    target_id: TargetId = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = 20,
    all_pages: AllPages = False,
    as_json: AsJson = False,
) -> None:
    """List who changed what, newest first; --json shows the old and new values."""
    found = api.page(
        "audit",
        limit=limit,
        all_pages=all_pages,
        action=action,
        key_id=key_id,
        target_type=target_type,
        target_id=target_id,
        created_after=created_after,
        created_before=created_before,
    )
    output.write_page(found, COLUMNS, as_json=as_json)
