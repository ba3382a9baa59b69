"""HTTP calls of tools: success or failure, the result is a text that the model reads.

A call is checked before it goes out, and no secret is in its result.
"""

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
MAX_COMPLAINTS = 3
MAX_COMPLAINT_CHARACTERS = 300
MAX_ERROR_CHARACTERS = 2000
"""How much of an error's body the model reads."""
MASK = "[secret]"


class Endpoint(BaseModel):
    """What a tool calls; checked when the tool was saved."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str
    headers: dict[str, str] = {}
    timeout_seconds: int = 10


class _InvalidToolCall(Exception):
    """The call must not be made; the message says why."""


def secrets_named(endpoint: Endpoint) -> list[str]:
    """Return the names of the secrets in an endpoint's headers."""
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
    """Call an endpoint with arguments; a failure is a result, not an exception.

    `secrets` holds those of `secrets_named` that the tenant has. The result does not contain their
    values. `plain` allows http and private addresses.
    """
    try:
        _check_arguments(parameters, arguments)
        url, rest = _fill_placeholders(endpoint.url, arguments)
        headers = _headers(endpoint, secrets)
        own_names = {name.lower() for name in headers}
        body = None
        defaults = {"User-Agent": "mini-agent-platform"}
        if endpoint.method in {"GET", "DELETE"}:
            url = _with_query(url, rest)
        else:
            body = json.dumps(rest, allow_nan=False).encode()
            defaults["Content-Type"] = "application/json"
        reply = egress.fetch(
            endpoint.method,
            url,
            headers={n: v for n, v in defaults.items() if n.lower() not in own_names} | headers,
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
    except ValueError:  # half of a surrogate pair, NaN or infinity
        return ToolResult(
            ok=False, content="The tool was not called. An argument is not valid JSON or UTF-8."
        )
    return _result(reply, secrets)


def _check_arguments(parameters: dict[str, Any] | None, arguments: dict[str, Any]) -> None:
    if parameters is None:
        return
    import jsonschema_rs  # noqa: PLC0415 - only needed with a schema

    # The regex engine takes linear time; `offline` loads no other document.
    options = jsonschema_rs.RegexOptions()
    schema = jsonschema_rs.Draft202012Validator(parameters, pattern_options=options, offline=True)
    complaints = [
        f"- {'/'.join(map(str, error.instance_path)) or 'arguments'}: {error.message}"
        for error in islice(schema.iter_errors(arguments), MAX_COMPLAINTS)
    ]
    if complaints:
        listed = "\n".join(complaint[:MAX_COMPLAINT_CHARACTERS] for complaint in complaints)
        raise _InvalidToolCall(f"The arguments do not match its parameters:\n{listed}")


def _fill_placeholders(template: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL with arguments in its placeholders, and the arguments that are left."""
    names = set(PLACEHOLDER.findall(template))
    values = {name: _url_part(name, arguments.get(name)) for name in names}
    url = PLACEHOLDER.sub(lambda match: values[match[1]], template)
    if {".", ".."} & set(urlsplit(url).path.split("/")):
        raise _InvalidToolCall("An argument would change the path of the tool's URL.")
    return url, {name: value for name, value in arguments.items() if name not in names}


def _url_part(name: str, value: Any) -> str:
    if value == "" or not isinstance(value, str | int | float):
        raise _InvalidToolCall(
            f"The argument {name!r} is required: a non-empty string or a number."
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
        raise _InvalidToolCall(f"It needs the secret {missing[0]!r}, which is not set.")
    headers = {
        name: SECRET.sub(lambda match: secrets[match[1]], value)
        for name, value in endpoint.headers.items()
    }
    for name, value in headers.items():
        if not HEADER_VALUE.fullmatch(value):
            raise _InvalidToolCall(
                f"The secret in the header {name!r} has characters that no header can hold."
            )
    return headers


def _result(reply: egress.Reply, secrets: Mapping[str, str]) -> ToolResult:
    try:
        text = reply.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    ok = 200 <= reply.status < 300  # noqa: PLR2004 - HTTP's class of successes
    if "\0" in text:
        text, ok = "(the response is not UTF-8 text)", False
    text = _mask_secrets(text, secrets)
    if ok:
        return ToolResult(ok=True, content=text or f"Success ({reply.status}, empty response).")
    error = f"The call failed with HTTP status {reply.status}.\n{text[:MAX_ERROR_CHARACTERS]}"
    return ToolResult(ok=False, content=error.rstrip())


def _mask_secrets(text: str, secrets: Mapping[str, str]) -> str:
    """Return a text without the secrets, in the forms in which services commonly echo them."""
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
