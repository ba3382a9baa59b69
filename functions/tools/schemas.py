"""The JSON Schema of a tool's parameters, checked when it is saved.

No saved schema can keep a call busy: patterns match in linear time, and subschemas are counted with
their `$ref`s expanded, since a few of those can expand to more than could ever be tried.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_BYTES = 16 * 1024
MAX_NODES = 10_000
MAX_PATTERN_BYTES = 64 * 1024
"""Memory of a compiled pattern; a class of all letters takes half of it."""
MAX_DEPTH = 64
DEFINITION = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")
REFERENCE_KEYWORDS = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef")
"""Keywords that change where a `$ref` leads, or lead elsewhere themselves."""
UNEVALUATED_KEYWORDS = ("unevaluatedItems", "unevaluatedProperties")
"""Keywords that evaluate their siblings again: nested, each of them doubles the time."""
NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")


def check(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema; raises ValueError where it must not be saved."""
    for count, _ in enumerate(_nodes(schema, schema), 1):
        if count > MAX_NODES:
            raise ValueError("The schema is too large with its $refs expanded")
    text = json.dumps(schema, allow_nan=False)  # raises ValueError
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"The schema must have at most {MAX_BYTES} bytes")
    if NUL.search(text):
        raise ValueError("The schema must not contain NUL")
    if schema.get("type") != "object":
        raise ValueError("The schema must be of type object")
    import jsonschema_rs  # noqa: PLC0415 - only tools with a schema need it

    options = jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_BYTES)
    try:
        jsonschema_rs.Draft202012Validator(schema, pattern_options=options, offline=True)
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(part) for part in error.instance_path)
        raise ValueError(f"Not a valid JSON Schema at '{where}': {error.message[:300]}") from None
    return schema


def _check_keywords(node: dict[str, Any], *, inner: bool) -> None:
    refused = [name for name in REFERENCE_KEYWORDS if isinstance(node.get(name), str)]
    refused += [name for name in UNEVALUATED_KEYWORDS if name in node]
    if refused:
        raise ValueError(f"The schema must not use {refused[0]}")
    if inner and isinstance(node.get("$schema"), str):  # draft 4's `id` changes references too
        raise ValueError("Only the root of the schema may have a $schema")


def _nodes(
    root: dict[str, Any], node: Any, path: tuple[str, ...] = (), depth: int = 0
) -> Iterator[Any]:
    """Yield each node of a schema with its `$ref`s expanded; raises ValueError."""
    if depth > MAX_DEPTH:
        raise ValueError(f"The schema must be at most {MAX_DEPTH} levels deep")
    yield node
    if isinstance(node, list):
        for item in node:
            yield from _nodes(root, item, path, depth + 1)
    if not isinstance(node, dict):
        return
    _check_keywords(node, inner=depth > 0)
    for item in node.values():
        yield from _nodes(root, item, path, depth + 1)
    if isinstance(reference := node.get("$ref"), str):
        match = DEFINITION.fullmatch(reference)
        definitions = root.get(match[1]) if match else None
        if not (match and isinstance(definitions, dict) and match[2] in definitions):
            raise ValueError("Each $ref must be #/$defs/NAME of an existing definition")
        if reference in path:
            raise ValueError("A $ref must not refer back to itself")
        yield from _nodes(root, definitions[match[2]], (*path, reference), depth + 1)
