"""A run's statuses and stop reasons: what is written about them is what is declared."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from mini_agent.executions import Status, StopReason

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENT = json.loads((ROOT / "functions/system/openapi.json").read_text())


def documented(name: str) -> Iterator[list[str]]:
    """Yield each list of values that the OpenAPI document gives for an execution's property."""
    for schema in DOCUMENT["components"]["schemas"].values():
        properties = schema.get("properties", {})
        if "stop_reason" in properties and name in properties:
            yield from enums(properties[name])


def enums(schema: dict[str, Any]) -> Iterator[list[str]]:
    if "x-extensible-enum" in schema:
        yield schema["x-extensible-enum"]
    for part in schema.get("anyOf", []):
        yield from enums(part)


def test_readme_lists_the_stop_reasons_that_are_declared() -> None:
    table = README.partition("| stop reason | meaning |")[2].partition("\n\n")[0]
    listed = re.findall(r"`([a-z_]+)`", table)
    assert sorted(listed) == sorted(get_args(StopReason))


def test_the_openapi_document_lists_the_stop_reasons_that_are_declared() -> None:
    found = list(documented("stop_reason"))
    assert found
    assert all(values == list(get_args(StopReason)) for values in found)


def test_the_openapi_document_lists_the_statuses_that_are_declared() -> None:
    found = list(documented("status"))
    assert found
    assert all(values == list(get_args(Status)) for values in found)
