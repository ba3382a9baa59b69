"""The query files: valid, used, and as cheap at the end of a long list as at its beginning."""

import ast
import re
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


RULES = (queries.SQL / "queries/README.md").read_text()
VERBS = set(re.findall(r"`([a-z]+)`", "".join(RULES.splitlines(keepends=True)[6:8])))


@pytest.mark.parametrize("query", FILES)
def test_a_query_begins_with_a_verb_of_the_rule_and_does_not_name_its_own_room(query: str) -> None:
    room, _, name = query.partition("/")
    verb, *subject = name.split("_")
    assert verb in VERBS
    assert "_".join(subject) not in {room, room.removesuffix("s")}


def test_the_rule_names_no_verb_that_no_query_has() -> None:
    assert {name.partition("/")[2].split("_")[0] for name in FILES} >= VERBS


def test_a_list_and_its_count_have_the_same_filters() -> None:
    position = {"after_time", "after_id", "limit", "offset"}
    counts = [name for name in FILES if name.endswith("/count")]
    for count in counts:
        of_list, of_count = (
            set(re.findall(r"%\((\w+)\)s", queries.load(name).decode()))
            for name in (count.replace("/count", "/list"), count)
        )
        assert of_list - position == of_count


FUNCTIONS = sorted((queries.SQL / "functions").glob("*/*.sql"))


@pytest.mark.parametrize("file", FUNCTIONS, ids=lambda file: file.stem)
def test_a_function_file_is_one_function_that_opens_with_what_its_callers_rely_on(
    file: Path,
) -> None:
    text = file.read_text()
    assert text.startswith("-- ")
    assert re.findall(r"^create or replace function app\.(\w+)\(", text, re.MULTILINE) == [
        file.stem
    ]
    assert text.startswith("-- Trigger: ") == ("returns trigger" in text)


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
