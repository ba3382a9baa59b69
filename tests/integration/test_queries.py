"""The query files: valid, used, and as cheap at the end of a long list as at its beginning."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import backends
from mini_agent.data import queries
from tests.databases import connect, numbered, query_names

ROOT = Path(__file__).parents[2]
CODE = [ROOT / "functions", ROOT / "layers" / "shared" / "mini_agent"]
FILES = query_names()
ROLES = {"admin": "map_operator", "authorizer": "map_authorizer", "sweep": "map_sweeper"}


@pytest.mark.parametrize("query", FILES)
def test_a_query_is_valid_and_allowed_for_the_role_that_runs_it(
    postgres: backends.Server, query: str
) -> None:
    role = ROLES.get(query.partition("/")[0], "map_api")
    with connect(postgres, role) as conn:
        conn.execute(f"prepare this as {numbered(query)}".encode())
        [count] = conn.execute(
            "select cardinality(parameter_types) from pg_prepared_statements"
        ).fetchone() or [0]
        nulls = ", ".join(["null"] * count)
        conn.execute(f"explain execute this {f'({nulls})' if nulls else ''}".encode())


@pytest.mark.parametrize("query", FILES)
def test_a_query_opens_with_what_its_callers_rely_on(query: str) -> None:
    first = queries.load(query).decode().splitlines()[0]
    assert first.startswith("-- ")
    assert len(first) > len("-- a word")


def names_in(source: str) -> Iterator[str]:
    """Yield the query names in a module: `room/name` texts, and those that a page's room has."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if _looks_like_a_query(text):
                yield text
            case ast.Call(
                func=ast.Attribute(value=ast.Name("pagination"), attr="fetch"),
                args=[_, ast.Constant(value=str(room)), *_],
            ):
                yield f"{room}/list"
                yield f"{room}/count"


def _looks_like_a_query(text: str) -> bool:
    room, _, name = text.partition("/")
    media_type = room in {"application", "image", "text"}
    return room.isidentifier() and name.isidentifier() and not media_type


def used_names() -> set[str]:
    files = [file for folder in CODE for file in folder.rglob("*.py")]
    return {name for file in files for name in names_in(file.read_text())}


def test_every_query_file_is_used_and_every_name_used_is_a_file() -> None:
    assert used_names() == set(FILES)


def test_a_misspelt_name_and_a_forgotten_one_would_be_noticed() -> None:
    source = 'db.Query("tols/get", {}, Tool); pagination.fetch(caller, "tools", query, Tool)'
    assert set(names_in(source)) == {"tols/get", "tools/list", "tools/count"}
