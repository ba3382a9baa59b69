"""Writes the OpenAPI document of all rooms to `functions/system/openapi.json`."""

import importlib
import json
import tomllib
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from mini_agent.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    RateLimitExceeded,
    responses,
)
from mini_agent.http import idempotency

ROOT = Path(__file__).parent.parent
RELEASE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TARGET = ROOT / "functions" / "system" / "openapi.json"
APPS = (
    *("tools.app", "agents.app", "runs.app"),
    *("executions.app", "executions.events_app", "executions.history_app"),
    *("secrets.app", "keys.app", "audit.app", "admin.app", "system.app"),
)
DESCRIPTION = """\
Register tools, make agents that use them, run the agents, read the history. Every call but the
health checks carries an API key in `X-API-KEY` and acts for that key's tenant alone.
"""
LIMIT_HEADERS = {
    "X-RateLimit-Limit": ("Requests in a window", "integer"),
    "X-RateLimit-Remaining": ("Requests left in this window", "integer"),
    "X-RateLimit-Window": ("Seconds of a window", "integer"),
    "RateLimit-Policy": ("The same, as the IETF's draft has it", "string"),
    "RateLimit": ("The same, as the IETF's draft has it", "string"),
}
USE_HEADERS = {"X-RateLimit-Remaining", "RateLimit"}


def document() -> dict[str, Any]:
    """Return the document."""
    app = FastAPI(
        title="Mini Agent Platform",
        version=RELEASE,
        description=DESCRIPTION,
        servers=[{"url": "./", "description": "Where this document came from"}],
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for name in APPS:
        app.include_router(importlib.import_module(f"functions.{name}").router)
    made = app.openapi()
    for path in made["paths"].values():
        for method, operation in path.items():
            if method == "post":
                _add_idempotency(operation)
            _add_headers(operation, posted=method == "post")
    return made


def _add_idempotency(operation: dict[str, Any]) -> None:
    operation.setdefault("parameters", []).append(
        {
            "name": idempotency.HEADER,
            "in": "header",
            "required": False,
            "description": "Sent again within 24 hours with the same key and the same body, the"
            " request has no second effect and gets its first answer",
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": idempotency.MAX_LENGTH,
                "pattern": "^[!-~]+$",
            },
        }
    )
    for status, answer in responses(IdempotencyKeyInUse, IdempotencyKeyReused).items():
        documented = operation["responses"].setdefault(
            str(status),
            {
                "description": "",
                "content": {
                    "application/json": {
                        "schema": {"$ref": "#/components/schemas/ErrorBody"},
                        "examples": {},
                    }
                },
            },
        )
        examples = documented["content"]["application/json"]["examples"]
        examples |= answer["content"]["application/json"]["examples"]
        documented["description"] = ", ".join(examples)


def _add_headers(operation: dict[str, Any], *, posted: bool) -> None:
    for status, answer in operation["responses"].items():
        headers = {"X-Request-Id": _header("Quote it when you ask for help", "string")}
        if "security" in operation and status not in {"401", "413"}:
            # API Gateway's own refusals lack them, and without Redis the count is unknown.
            known = LIMIT_HEADERS.keys() - USE_HEADERS if status.startswith("2") else set()
            headers |= {
                name: _header(*of, always=name in known) for name, of in LIMIT_HEADERS.items()
            }
        if status in {str(RateLimitExceeded.status), "503"}:
            headers["Retry-After"] = _header("Seconds to wait", "integer")
        if posted and status.startswith("2"):
            headers |= {
                name: _header("Of an answer that was given before", "string", always=False)
                for name in idempotency.REPLAYED
            }
        if posted and status == str(IdempotencyKeyInUse.status):
            headers["Retry-After"] = _header("Seconds to wait", "integer", always=False)
        if status in {"201", "202"}:
            headers["Location"] = _header("Path of what was made, or is being made", "string")
        if status == "405":
            headers["Allow"] = _header("Methods of this path", "string")
        answer["headers"] = answer.get("headers", {}) | headers


def _header(description: str, kind: str, *, always: bool = True) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": {"type": kind}}


if __name__ == "__main__":
    TARGET.write_text(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {TARGET.relative_to(ROOT)}")
