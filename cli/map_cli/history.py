"""`map history`, and `map usage`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from map_cli import output
from map_cli.client import Client
from map_cli.errors import CommandError
from map_cli.options import AllPages, Api, AsJson, CreatedAfter, CreatedBefore, Limit

app = typer.Typer(name="history", help="Read the history of runs.", no_args_is_help=True)

COLUMNS = ("id", "agent_name", "prompt", "status", "created_at")
USAGE = ("day", "model", "agent_name", "runs", "input_tokens", "output_tokens", "cost_usd")
CHUNK = 100
"""How many runs an export requests at once."""

AgentName = Annotated[str | None, typer.Option("--agent", help="Its name or id")]


@app.command("list")
def list_history(
    api: Api,
    agent: AgentName = None,
    model: str | None = None,
    status: str | None = None,
    stop_reason: str | None = None,
    min_cost_usd: float | None = None,
    min_duration_ms: int | None = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = 20,
    all_pages: AllPages = False,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    found = api.page(
        "history",
        limit=limit,
        all_pages=all_pages,
        agent_id=agent and api.id_of("agents", name=agent),
        model=model,
        status=status,
        stop_reason=stop_reason,
        min_cost_usd=min_cost_usd,
        min_duration_ms=min_duration_ms,
        created_after=created_after,
        created_before=created_before,
    )
    output.write_page(found, COLUMNS, as_json=as_json)


@app.command("get")
def get_history(api: Api, run: UUID, as_json: AsJson = False) -> None:
    """Show a run."""
    output.write_record(api.call("GET", "history", run), as_json=as_json)


@app.command("export")
def export_history(
    api: Api,
    file: Annotated[
        Path | None, typer.Option("--output", help="The file to write; stdout by default")
    ] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
) -> None:
    """Write all runs as JSON, one on each line."""
    chunks = _chunks(api, created_after=created_after, created_before=created_before)
    if file:
        _write(file, chunks)
        output.note(f"Wrote {file}")
    else:
        for chunk in chunks:
            typer.echo(chunk, nl=False)


def _chunks(api: Client, **query: Any) -> Iterator[bytes]:
    cursor, is_first = None, True
    while cursor or is_first:
        response = api.send("GET", "history", "export", limit=CHUNK, cursor=cursor, **query)
        cursor, is_first = response.headers.get("X-Next-Cursor"), False
        yield response.content


def _write(file: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that appears only once it is complete."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as target:
            target.writelines(chunks)
        part.replace(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def show_usage(
    api: Api,
    agent: AgentName = None,
    model: str | None = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    as_json: AsJson = False,
) -> None:
    """Sum tokens, runs and cost by day, model and agent, by default of 30 days."""
    found = api.call(
        "GET",
        "usage",
        agent_id=agent and api.id_of("agents", name=agent),
        model=model,
        created_after=created_after,
        created_before=created_before,
    )
    output.write_page(found, USAGE, as_json=as_json)
