"""Options that several commands share, and the request fields that they become."""

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


ProfileName = Annotated[str, typer.Option("--profile", help="Name of the login")]
Api = Annotated[
    Client,
    typer.Option(
        "--profile",
        help="Name of the login; MAP_URL and MAP_API_KEY take precedence",
        metavar="NAME",
        default_factory=lambda: config.DEFAULT,
        parser=str,
        callback=_connect,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="How many to list at most")]
AllPages = Annotated[bool, typer.Option("--all", help="List all pages")]
CreatedAfter = Annotated[
    str | None, typer.Option("--created-after", help="A time such as 2026-01-31T00:00:00Z")
]
CreatedBefore = Annotated[str | None, typer.Option("--created-before", help="A time, as above")]
Scopes = Annotated[
    list[str] | None, typer.Option("--scope", help="A scope, such as runs:write; may be repeated")
]
Days = Annotated[int | None, typer.Option("--expires-in-days", help="1 to 365; 90 by default")]


def fields(**values: object) -> dict[str, Any]:
    """Return the fields of a request's body that were given, which are those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def json_fields(**values: str | None) -> dict[str, Any]:
    """Return the fields that were given as JSON, including `null`, or as @FILE with JSON in it."""
    return {name: _json(name, text) for name, text in values.items() if text is not None}


def _json(name: str, text: str) -> Any:
    option = f"--{name.replace('_', '-')}"
    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{option} is not JSON: {error}") from error


def ask_secret(what: str) -> str:
    """Return a secret that the user types unseen; without a terminal, stdin's whole text."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=True, err=True))
    return sys.stdin.read().strip()
