"""Calling a tool's endpoint: whatever comes of it becomes a text that the model reads."""

import base64
import html
import json
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal
from urllib.parse import quote, quote_plus, urlencode, urlsplit

from pydantic import BaseModel

from functions.runs.definitions import ToolResult
from functions.runs.tools import egress

PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_.-]{1,64})\}")
SECRET = re.compile(r"\{\{secret:([A-Za-z0-9_.-]{1,100})\}\}")
HEADER_VALUE = re.compile(r"[!-~]([\t -~]*[!-~])?")
MOST_COMPLAINTS = 3
LONGEST_COMPLAINT = 300
LONGEST_ERROR = 2000
"""Characters of an answer that tells of an error."""
MASK = "[secret]"


class Endpoint(BaseModel):
    """What a tool calls, as it was checked when the tool was saved."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str
    headers: dict[str, str] = {}
    timeout_seconds: int = 10


class _InvalidToolCall(Exception):
    """The call is not made; the text says why."""


def secrets_named(endpoint: Endpoint) -> list[str]:
    """Return the names of the secrets that an endpoint's headers need."""
    return sorted({name for value in endpoint.headers.values() for name in SECRET.findall(value)})


def call(
    endpoint: Endpoint,
    parameters: dict[str, Any] | None,
    arguments: dict[str, Any],
    secrets: Mapping[str, str],
    *,
    seconds: float,
    plain: bool,
) -> ToolResult:
    """Call an endpoint with arguments; whatever goes wrong is told, not raised.

    `secrets` holds those that the tenant has of `secrets_named`. Of their values nothing is told.
    """
    try:
        _check(parameters, arguments)
        url, rest = _filled(endpoint.url, arguments)
        headers = _headers(endpoint, secrets)
        theirs = set(map(str.lower, headers))
        body = None
        ours = {"User-Agent": "mini-agent-platform"}
        if endpoint.method in {"GET", "DELETE"}:
            url = _with_query(url, rest)
        else:
            body = json.dumps(rest, allow_nan=False).encode()
            ours["Content-Type"] = "application/json"
        reply = egress.fetch(
            endpoint.method,
            url,
            headers={n: v for n, v in ours.items() if n.lower() not in theirs} | headers,
            body=body,
            seconds=min(seconds, endpoint.timeout_seconds),
            plain=plain,
        )
    except _InvalidToolCall as error:
        return ToolResult(ok=False, content=f"The tool was not called. {error}")
    except egress.EgressRefused as error:
        return ToolResult(ok=False, content=f"The call was refused. {error}.")
    except egress.EgressFailed as error:
        return ToolResult(ok=False, content=f"The call failed. {error}.")
    except ValueError:  # what UTF-8 or JSON cannot hold
        return ToolResult(
            ok=False, content="The tool was not called. An argument holds what cannot be sent."
        )
    return _told(reply, secrets)


def _check(parameters: dict[str, Any] | None, arguments: dict[str, Any]) -> None:
    if parameters is None:
        return
    import jsonschema_rs  # noqa: PLC0415 - of use where there is a schema alone

    # Patterns in linear time; no other document is loaded.
    options = jsonschema_rs.RegexOptions()
    schema = jsonschema_rs.Draft202012Validator(parameters, pattern_options=options, offline=True)
    complaints = [
        f"- {'/'.join(map(str, error.instance_path)) or 'arguments'}: {error.message}"
        for error in islice(schema.iter_errors(arguments), MOST_COMPLAINTS)
    ]
    if complaints:
        told = "\n".join(complaint[:LONGEST_COMPLAINT] for complaint in complaints)
        raise _InvalidToolCall(f"The arguments do not fit its parameters:\n{told}")


def _filled(template: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL with its arguments in it, and those that are left."""
    names = set(PLACEHOLDER.findall(template))
    values = {name: _part(name, arguments.get(name)) for name in names}
    url = PLACEHOLDER.sub(lambda match: values[match[1]], template)
    if {".", ".."} & set(urlsplit(url).path.split("/")):
        raise _InvalidToolCall("An argument would lead to another place than the tool's URL says.")
    return url, {name: value for name, value in arguments.items() if name not in names}


def _part(name: str, value: Any) -> str:
    if value == "" or not isinstance(value, str | int | float):
        raise _InvalidToolCall(
            f"The argument {name!r} must be there: a text that is not empty, or a number."
        )
    return quote(_text(value), safe="")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


def _with_query(url: str, arguments: dict[str, Any]) -> str:
    pairs = [
        (name, _text(item))
        for name, value in arguments.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    if not pairs:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}"


def _headers(endpoint: Endpoint, secrets: Mapping[str, str]) -> dict[str, str]:
    if missing := [name for name in secrets_named(endpoint) if name not in secrets]:
        raise _InvalidToolCall(f"The secret {missing[0]!r}, which it needs, is not set.")
    headers = {
        name: SECRET.sub(lambda match: secrets[match[1]], value)
        for name, value in endpoint.headers.items()
    }
    for name, value in headers.items():
        if not HEADER_VALUE.fullmatch(value):
            raise _InvalidToolCall(f"The header {name!r} cannot hold the secret that it names.")
    return headers


def _told(reply: egress.Reply, secrets: Mapping[str, str]) -> ToolResult:
    try:
        text = reply.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    worked = 200 <= reply.status < 300  # noqa: PLR2004 - what HTTP calls a success
    if "\0" in text:
        text, worked = "(an answer that is no text in UTF-8)", False
    text = _masked(text, secrets)
    if worked:
        return ToolResult(ok=True, content=text or f"It worked ({reply.status}, nothing to read).")
    told = f"The call failed with HTTP status {reply.status}.\n{text[:LONGEST_ERROR]}"
    return ToolResult(ok=False, content=told.rstrip())


def _masked(text: str, secrets: Mapping[str, str]) -> str:
    """Return a text without the secrets, as they are or as an echo commonly writes them."""
    forms = {
        form
        for value in secrets.values()
        for form in (
            value,
            json.dumps(value)[1:-1],
            json.dumps(value)[1:-1].replace("/", "\\/"),
            html.escape(value),
            quote(value),
            quote(value, safe=""),
            quote_plus(value),
            base64.b64encode(value.encode()).decode(),
        )
        if form
    }
    if not forms:
        return text
    longest_first = sorted(forms, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), MASK, text, flags=re.IGNORECASE)
