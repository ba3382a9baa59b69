"""Output: tables and records for people, JSON for programs, notes on stderr."""

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

MAX_CELL = 80
"""How many characters of a text a table shows."""
PIPE_WIDTH = 500
"""The width of a table in a pipe, so that nothing is cut off."""
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")
# Whatever could move a terminal's cursor, change its title, or reverse its text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return a text without control characters: models and tools write these texts."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def note(text: str) -> None:
    """Write a note to stderr, beside the command's output."""
    typer.echo(clean(text), err=True)


def write_text(text: str) -> None:
    """Write plain text."""
    typer.echo(clean(text))


def write_json(value: object, *, indent: int | None = 2) -> None:
    """Write JSON, in one line if there is no indent."""
    typer.echo(json.dumps(value, indent=indent))


def write_page(found: Item, columns: Sequence[str], *, as_json: bool) -> None:
    """Write a page of a list, as a table for people."""
    if as_json:
        write_json(found)
        return
    if found["items"]:
        _print(_table(found["items"], columns))
    else:
        note("Nothing found")
    if found.get("has_more"):
        note("There are more: --all lists them")


def write_record(item: Item, *, as_json: bool) -> None:
    """Write one resource; for people, a line for each field."""
    if as_json:
        write_json(item)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, value in _flat(item):
        grid.add_row(_title(name), Text(format_value(value)))
    _print(grid)


def write_new_key(item: Item, *, as_json: bool) -> None:
    """Write a resource with a new key."""
    write_record(item, as_json=as_json)
    if item.get("key"):
        note("The key is shown only this once: store it now")


def format_value(value: object) -> str:
    """Return a value as people read it."""
    match value:
        case None | "" | []:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.6f}".rstrip("0").rstrip(".")
        case list():
            text = ", ".join(format_value(v["name"] if _has_name(v) else v) for v in value)
        case dict():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return TIME.sub(r"\1Z", clean(text))


def _has_name(value: object) -> bool:
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
        # Ids and times are not cut off, because people copy them.
        is_whole = name.rpartition("_")[2] in {"id", "at", "after", "four"}
        table.add_column(_line(_title(name)), no_wrap=is_whole)
    for item in items:
        flat = dict(_flat(item)) | dict(item)
        table.add_row(*(_line(format_value(flat.get(name))) for name in columns))
    return table


def _line(text: str) -> Text:
    """Return a text in one line, which the table cuts off where it must."""
    return Text(_short(text), no_wrap=True, overflow="ellipsis")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_CELL else f"{line[: MAX_CELL - 1]}…"


def _title(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _print(table: Table) -> None:
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if has_width else PIPE_WIDTH).print(table)
