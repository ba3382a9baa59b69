"""Writes the OpenAPI document of all rooms to `functions/system/openapi.json`.

FastAPI describes the routes. This adds what they share (errors, headers, `Idempotency-Key`) as
components, and makes the document one that client generators understand.
"""

import importlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from functions.executions.models import RunEvent
from mini_agent import errors
from mini_agent.errors import ApiError, IdempotencyKeyInUse, IdempotencyKeyReused
from mini_agent.http import idempotency

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaMode

ROOT = Path(__file__).parent.parent
RELEASE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TARGET = ROOT / "functions" / "system" / "openapi.json"
APPS = (
    *("tools.app", "agents.app", "runs.app"),
    *("executions.app", "executions.events_app", "executions.history_app"),
    *("secrets.app", "keys.app", "audit.app", "admin.app", "system.app"),
)
DESCRIPTION = """\
Register tools, create agents that use them, run the agents, and read the history. Every request
except the health checks carries an API key in the `X-API-KEY` header and acts for the tenant that
owns the key.

Every error has the same body: `error_code` is stable and for programs, `message` is for people and
may change, `details` depends on the code. Clients must accept fields and values that they do not
know: both may be added at any time.
"""
TAGS = {
    "Tools": "What agents can use: a description for the model and, optionally, an HTTP endpoint.",
    "Agents": "A role, a description and the tools to use.",
    "Runs": "Ask an agent, follow the run, approve its tool calls, or cancel it.",
    "History": "Past runs, their export, and what they used.",
    "Secrets": "Values that tools send to their endpoints. They are written and never read.",
    "Keys": "The tenant's own API keys.",
    "Audit": "Who changed what, and who was refused.",
    "Platform": "Tenants, for the operators of the platform.",
    "System": "Health checks. They need no API key.",
}
HEADERS = {
    "X-Request-Id": ("string", "Quote it when you ask for help."),
    "X-RateLimit-Limit": ("integer", "Requests allowed in a window."),
    "X-RateLimit-Remaining": ("integer", "Requests left in this window, if known."),
    "X-RateLimit-Window": ("integer", "Length of a window in seconds."),
    "RateLimit-Policy": ("string", "Limit and window as in the IETF draft."),
    "RateLimit": ("string", "What is left as in the IETF draft, if known."),
    "Retry-After": ("integer", "Seconds to wait before the next attempt."),
    "Location": ("string", "Path of the new resource."),
    "Allow": ("string", "Methods that this path takes."),
    "Idempotency-Replayed": (
        "string",
        "`true` if this response was given before, to the first request with the key.",
    ),
    "Preference-Applied": ("string", "`respond-async` if the preference was honoured."),
}
LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Window", "RateLimit-Policy")
USE_HEADERS = ("X-RateLimit-Remaining", "RateLimit")
"""Missing while Redis is unavailable: the count is unknown then."""
GATEWAY_STATUSES = {401, 413}
"""API Gateway's own answers, which have no rate limit headers."""

OWN_HEADERS: dict[str, set[type[ApiError]]] = {
    "Retry-After": {
        errors.IdempotencyKeyInUse,
        errors.RateLimitExceeded,
        errors.ServiceUnavailable,
        errors.TooManyRuns,
    },
    "Allow": {errors.MethodNotAllowed},
}
"""Headers that only some errors have."""

IDEMPOTENCY = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": False,
    "description": "A request that is sent again within 24 hours with the same key and the same"
    " body has no second effect and gets the first response.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": idempotency.MAX_LENGTH,
        "pattern": "^[!-~]+$",
    },
}
JsonObject = dict[str, Any]


def document() -> JsonObject:
    """Return the document; raises ValueError if two schemas would have one name."""
    spec = _app().openapi()
    spec["components"] |= {"schemas": _schemas(), "parameters": {"Idempotency-Key": IDEMPOTENCY}}
    spec = _name_pages(spec)
    check_names(spec["components"]["schemas"])
    components = _Components(spec["components"])
    for method, operation in _operations(spec):
        operation.setdefault("security", [])  # of a public route: none is needed
        for parameter in operation.get("parameters", []):
            _tidy_parameter(parameter)
        if method == "post":
            _add_idempotency(operation)
        _divide_statuses(operation)
        operation["responses"] = {
            status: _response(int(status), response, method, operation, components)
            for status, response in sorted(operation["responses"].items())
        }
    _open_lists(spec)
    return spec


def _app() -> FastAPI:
    app = FastAPI(
        title="Mini Agent Platform",
        version=RELEASE,
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        contact={"name": "The Mini Agent Platform authors"},
        servers=[{"url": ".", "description": "Where this document came from"}],
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for name in APPS:
        app.include_router(importlib.import_module(f"functions.{name}").router)
    return app


def _named_errors(base: type[ApiError]) -> Iterator[tuple[str, type[ApiError]]]:
    for error in base.__subclasses__():
        if "error_code" in vars(error):
            yield error.error_code, error
        yield from _named_errors(error)


ERRORS = dict(_named_errors(ApiError))


class _Components:
    """The components that operations refer to, each made when it is first needed."""

    def __init__(self, components: JsonObject) -> None:
        self.responses: JsonObject = components.setdefault("responses", {})
        self.headers: JsonObject = components.setdefault("headers", {})

    def header(self, name: str, *, required: bool) -> JsonObject:
        """Return a reference to a header."""
        kind, description = HEADERS[name]
        key = name if required else f"{name}-optional"
        self.headers[key] = {
            "description": description,
            "required": required,
            "schema": {"type": kind},
        }
        return {"$ref": f"#/components/headers/{key}"}

    def limits(self, *, required: bool) -> JsonObject:
        """Return references to the rate limit headers."""
        return {name: self.header(name, required=required) for name in LIMIT_HEADERS} | {
            name: self.header(name, required=False) for name in USE_HEADERS
        }

    def error(self, codes: list[str], *, is_public: bool) -> JsonObject:
        """Return a reference to the response of these errors, which have one status."""
        failures = [ERRORS[code] for code in codes]
        has_limits = not is_public and failures[0].status not in GATEWAY_STATUSES
        names = [failure.__name__ for failure in failures]
        key = "Or".join(names) + ("Public" if is_public else "")
        self.responses[key] = {
            "description": "\n\n".join(f"`{f.error_code}`: {_summary(f)}" for f in failures),
            "headers": {
                "X-Request-Id": self.header("X-Request-Id", required=True),
                **(self.limits(required=False) if has_limits else {}),
                **self._own_headers(failures),
            },
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/ErrorBody"},
                    "examples": {failure.error_code: _example(failure) for failure in failures},
                }
            },
        }
        return {"$ref": f"#/components/responses/{key}"}

    def _own_headers(self, failures: list[type[ApiError]]) -> JsonObject:
        """Return references to the headers that some of the errors have, required if all have."""
        return {
            name: self.header(name, required=having.issuperset(failures))
            for name, having in OWN_HEADERS.items()
            if having.intersection(failures)
        }


def _summary(failure: type[ApiError]) -> str:
    return (failure.__doc__ or "").partition("\n")[0]


def _example(failure: type[ApiError]) -> JsonObject:
    return {
        "value": {
            "error_code": failure.error_code,
            "message": failure.message,
            "details": failure.example,
        }
    }


def _divide_statuses(operation: JsonObject) -> None:
    """Remove from the 200 the schema that the 202 has; FastAPI documents a union under both."""
    responses = operation["responses"]
    if "202" in responses:
        first, second = (
            responses[status]["content"]["application/json"] for status in ("200", "202")
        )
        [first["schema"]] = [s for s in first["schema"]["anyOf"] if s != second["schema"]]


def _add_idempotency(operation: JsonObject) -> None:
    reference = {"$ref": "#/components/parameters/Idempotency-Key"}
    operation.setdefault("parameters", []).append(reference)
    for status, response in errors.responses(IdempotencyKeyInUse, IdempotencyKeyReused).items():
        documented = operation["responses"].setdefault(str(status), {"x-error-codes": []})
        documented["x-error-codes"] += response["x-error-codes"]


def _response(
    status: int,
    response: JsonObject,
    method: str,
    operation: JsonObject,
    components: _Components,
) -> JsonObject:
    is_public = not operation["security"]
    if "x-error-codes" in response:
        return components.error(response["x-error-codes"], is_public=is_public)
    headers = {"X-Request-Id": components.header("X-Request-Id", required=True)}
    if not is_public:
        headers |= components.limits(required=True)
    if method == "post":
        headers |= {name: components.header(name, required=False) for name in idempotency.REPLAYED}
    if status in {201, 202}:
        headers["Location"] = components.header("Location", required=True)
    if status == 202:
        headers["Preference-Applied"] = components.header("Preference-Applied", required=False)
    return response | {"headers": headers | response.get("headers", {})}


def _name_pages(spec: JsonObject) -> JsonObject:
    """Name pages as `ToolPage`; pydantic names them `Page_Tool_`."""
    named: JsonObject = json.loads(re.sub(r"\bPage_([A-Za-z]+)_", r"\1Page", json.dumps(spec)))
    return named


def check_names(schemas: JsonObject) -> None:
    """Refuse the names that pydantic makes up where two models are named alike."""
    for name in schemas:
        if not name.isalnum():
            raise ValueError(f"this schema's model needs a name of its own: {name}")


def _schemas() -> JsonObject:
    """Return the schemas of all that routes take and give.

    They are made here since FastAPI removes nulls from their examples.
    """
    kinds: list[tuple[JsonSchemaMode, Any]] = [
        ("serialization", errors.ErrorBody),
        ("serialization", RunEvent),  # of a stream, which has no response model
    ]
    for route in (route for name in APPS for route in _routes(name)):
        if route.body_field:
            kinds.append(("validation", route.body_field.field_info.annotation))
        if route.response_model:
            kinds.append(("serialization", route.response_model))
        models = (r["model"] for r in route.responses.values() if "model" in r)
        kinds += [("serialization", model) for model in models]
    _, made = TypeAdapter.json_schemas(
        [(number, mode, TypeAdapter(kind)) for number, (mode, kind) in enumerate(kinds)],
        ref_template="#/components/schemas/{model}",
    )
    schemas: JsonObject = made["$defs"]
    for schema in _walk(schemas.values()):
        schema.pop("title", None)
    return schemas


def _routes(name: str) -> list[APIRoute]:
    router = importlib.import_module(f"functions.{name}").router
    return [r for r in router.routes if isinstance(r, APIRoute) and r.include_in_schema]


def _walk(schemas: Iterable[JsonObject]) -> Iterator[JsonObject]:
    """Yield schemas and all those inside them."""
    for schema in schemas:
        yield schema
        inside = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
        inside += [s for key in ("anyOf", "oneOf", "allOf") for s in schema.get(key, [])]
        single = (schema.get(key) for key in ("items", "additionalProperties", "contentSchema"))
        yield from _walk([*inside, *(s for s in single if isinstance(s, dict))])


def _tidy_parameter(parameter: JsonObject) -> None:
    """Say nothing twice, no empty default, and no null: a query cannot carry one."""
    schema = parameter.get("schema", {})
    if schema.get("default") == "":
        del schema["default"]
    schema.pop("title", None)
    schema.pop("description", None)
    options = [s for s in schema.get("anyOf", []) if s != {"type": "null"}]
    if len(options) == 1:
        del schema["anyOf"]
        schema |= options[0]


def _operations(spec: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    for path in spec["paths"].values():
        yield from path.items()


def _open_lists(spec: JsonObject) -> None:
    """Describe lists that may grow as strings which name the values known today.

    A generated client fails on a value that its enum lacks. So every enum that clients read is
    open; what they send may say so itself, with `x-extensible-enum`.
    """
    schemas = spec["components"]["schemas"]
    read = references([op["responses"] for _, op in _operations(spec)], spec)
    for schema in _walk(schemas[name] for name in read):
        if "enum" in schema:
            schema["x-extensible-enum"] = schema.pop("enum")
    for schema in _walk(schemas.values()):
        if values := schema.get("x-extensible-enum"):
            known = f"One of {', '.join(f'`{value}`' for value in values)}; more may be added"
            schema["description"] = ". ".join(filter(None, (schema.get("description"), known)))


def references(node: Any, spec: JsonObject) -> set[str]:
    """Return the names of all schemas that a part of the document leads to."""
    if isinstance(node, list):
        return {name for inner in node for name in references(inner, spec)}
    if not isinstance(node, dict):
        return set()
    if "$ref" in node:
        _, kind, name = node["$ref"].rsplit("/", 2)
        return references(resolve(node, spec), spec) | ({name} if kind == "schemas" else set())
    return {name for inner in node.values() for name in references(inner, spec)}


def resolve(node: JsonObject, spec: JsonObject) -> JsonObject:
    """Return a part of the document, or the component that it refers to."""
    if "$ref" not in node:
        return node
    _, kind, name = node["$ref"].rsplit("/", 2)
    component: JsonObject = spec["components"][kind][name]
    return component


if __name__ == "__main__":
    TARGET.write_text(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {TARGET.relative_to(ROOT)}")
