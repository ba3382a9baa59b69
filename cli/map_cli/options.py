"""Options that many commands have, and what they become in a request."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from map_cli import config
from map_cli.client import Client


def _connect(context: typer.Context, profile: str) -> Client | None:
    if context.resilient_parsing:  # the shell asks for completions
        return None
    return context.with_resource(Client(config.load(profile), profile))


ProfileName = Annotated[str, typer.Option("--profile", help="Which login to use, or to make")]
Api = Annotated[
    Client,
    typer.Option(
        "--profile",
        help="Which login to use; MAP_URL and MAP_API_KEY go first",
        metavar="NAME",
        default_factory=lambda: config.DEFAULT,
        parser=str,
        callback=_connect,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="How many to list")]
Everything = Annotated[bool, typer.Option("--all", help="List them all, page by page")]
After = Annotated[
    str | None, typer.Option("--created-after", help="A time such as 2026-01-31T00:00:00Z")
]
Before = Annotated[str | None, typer.Option("--created-before", help="Likewise")]
Scopes = Annotated[
    list[str] | None, typer.Option("--scope", help="What it may do, such as runs:write; repeat it")
]
Days = Annotated[int | None, typer.Option("--expires-in-days", help="1 to 365; else 90")]


def given(**fields: object) -> dict[str, Any]:
    """Return the fields that were given, for the body of a request."""
    return {name: value for name, value in fields.items() if value is not None}


def given_json(**fields: str | None) -> dict[str, Any]:
    """Return the fields that were given as JSON, `null` included, or as @FILE with JSON in it."""
    return {name: _json(name, text) for name, text in fields.items() if text is not None}


def _json(name: str, text: str) -> Any:
    option = f"--{name.replace('_', '-')}"
    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{option} is no JSON: {error}") from error


def ask_secret(what: str) -> str:
    """Return what is typed unseen at the terminal, or what stdin holds where that is none."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=True, err=True))
    return sys.stdin.read().strip()
