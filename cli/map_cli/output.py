"""What is shown: tables and records for people, JSON for programs, notes beside them on stderr."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Item = Mapping[str, Any]

LONGEST = 80
"""How much of a text a list shows."""
WIDE = 500
"""Columns where nobody looks: nothing is folded in a pipe."""
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")
# Whatever could move a terminal's cursor, change its title, or reverse its text.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return a text without what would steer a terminal: models and tools write these texts."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def note(text: str) -> None:
    """Say something to the person at the terminal, beside what the command answers."""
    typer.echo(clean(text), err=True)


def say(text: str) -> None:
    """Answer in plain text."""
    typer.echo(clean(text))


def document(value: object, *, indent: int | None = 2) -> None:
    """Answer in JSON; without indent in one line."""
    typer.echo(json.dumps(value, indent=indent))


def page(found: Item, columns: Sequence[str], *, as_json: bool) -> None:
    """Answer with a page of a list, as a table for people."""
    if as_json:
        document(found)
        return
    if found["items"]:
        _print(_table(found["items"], columns))
    else:
        note("There are none")
    if found.get("has_more"):
        note("There are more: --all shows them")


def record(item: Item, *, as_json: bool) -> None:
    """Answer with one thing: for people, a line for each of its fields."""
    if as_json:
        document(item)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, value in _flat(item):
        grid.add_row(_title(name), Text(cell(value)))
    _print(grid)


def made(item: Item, *, as_json: bool) -> None:
    """Answer with what holds a new key."""
    record(item, as_json=as_json)
    if item.get("key"):
        note("The key is shown this once: keep it now")


def cell(value: object) -> str:
    """Return a value as people read it."""
    match value:
        case None | "" | []:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.6f}".rstrip("0").rstrip(".")
        case list():
            text = ", ".join(cell(v["name"] if _named(v) else v) for v in value)
        case dict():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return TIME.sub(r"\1Z", clean(text))


def _named(value: object) -> bool:
    return isinstance(value, dict) and "name" in value


def _flat(item: Item) -> Iterable[tuple[str, object]]:
    for name, value in item.items():
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{part}", inner) for part, inner in value.items())
        else:
            yield name, value


def _table(items: Iterable[Item], columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        # Ids and times are copied from here: the other columns make room.
        whole = name.rpartition("_")[2] in {"id", "at", "after", "four"}
        table.add_column(_line(_title(name)), no_wrap=whole)
    for item in items:
        flat = dict(_flat(item)) | dict(item)
        table.add_row(*(_line(cell(flat.get(name))) for name in columns))
    return table


def _line(text: str) -> Text:
    """Return a text in one line, of which a table shows as much as it has room for."""
    return Text(_short(text), no_wrap=True, overflow="ellipsis")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _title(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _print(table: Table) -> None:
    seen = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if seen else WIDE).print(table)
