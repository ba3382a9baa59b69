"""The JSON Schema of a tool's parameters, checked as it is saved.

A schema that is saved must not keep a call busy: patterns are matched in linear time, and what the
`$ref`s lead to is counted, since a few of them can lead to more subschemas than can ever be tried.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MOST_BYTES = 16 * 1024
MOST_NODES = 10_000
MOST_PATTERN_BYTES = 64 * 1024
"""Of a pattern that is compiled, in memory; a class of all letters takes half of it."""
DEEPEST = 64
DEFINITION = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")
NO_OTHER_WAY = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef")
"""Keywords that would lead elsewhere than the text of a `$ref` says."""
OVER_AGAIN = ("unevaluatedItems", "unevaluatedProperties")
"""Keywords that try again what is beside them: within each other, each doubles the time."""
NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")


def check(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that is fit to be saved; raises ValueError."""
    for count, _ in enumerate(_nodes(schema, schema), 1):
        if count > MOST_NODES:
            raise ValueError("With what its $refs lead to, the schema is too large")
    text = json.dumps(schema, allow_nan=False)  # raises ValueError
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"The schema must have at most {MOST_BYTES} bytes")
    if NUL.search(text):
        raise ValueError("The schema must have no NUL in it")
    if schema.get("type") != "object":
        raise ValueError("The schema must be of type object")
    import jsonschema_rs  # noqa: PLC0415 - of use where there is a schema alone

    options = jsonschema_rs.RegexOptions(size_limit=MOST_PATTERN_BYTES)
    try:
        jsonschema_rs.Draft202012Validator(schema, pattern_options=options, offline=True)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(part) for part in error.instance_path)
        raise ValueError(f"No valid JSON Schema, at '{where}': {error.message[:300]}") from None
    return schema


def _refuse(node: dict[str, Any], *, inner: bool) -> None:
    led = [name for name in NO_OTHER_WAY if isinstance(node.get(name), str)]
    if refused := led + [name for name in OVER_AGAIN if name in node]:
        raise ValueError(f"The schema must have no {refused[0]}")
    if inner and isinstance(node.get("$schema"), str):  # in draft 4, `id` leads elsewhere, too
        raise ValueError("The schema must have no $schema but its own")


def _nodes(
    root: dict[str, Any], node: Any, within: tuple[str, ...] = (), depth: int = 0
) -> Iterator[Any]:
    """Yield each part of a schema, as often as its `$ref`s lead to it; raises ValueError."""
    if depth > DEEPEST:
        raise ValueError(f"The schema must be at most {DEEPEST} levels deep")
    yield node
    if isinstance(node, list):
        for item in node:
            yield from _nodes(root, item, within, depth + 1)
    if not isinstance(node, dict):
        return
    _refuse(node, inner=depth > 0)
    for item in node.values():
        yield from _nodes(root, item, within, depth + 1)
    if isinstance(reference := node.get("$ref"), str):
        match = DEFINITION.fullmatch(reference)
        definitions = root.get(match[1]) if match else None
        if not (match and isinstance(definitions, dict) and match[2] in definitions):
            raise ValueError("Every $ref must be #/$defs/NAME, of a definition that is there")
        if reference in within:
            raise ValueError("No $ref may lead to itself")
        yield from _nodes(root, definitions[match[2]], (*within, reference), depth + 1)
