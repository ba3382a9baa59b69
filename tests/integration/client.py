"""A tenant's client: each call goes to the handler that API Gateway would pick for it."""

import importlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from functions.authorizer import app as authorizer
from mini_agent.errors import ErrorBody
from mini_agent.identity.callers import Caller
from tests.databases import configured
from tests.events import Answer, Context, Handler, event, invoke

BASE = "/api/v1"
AGENT = {"name": "Ann", "role": "researcher", "description": "Finds things out"}
TOOL = {"name": "web", "description": "Search the web"}
RUN = {"prompt": "What is new?", "model": "gpt-4o"}

_ROOM = re.compile(
    rf"{BASE}/(?P<room>tools|agents|models|executions|history|usage|secrets|keys|audit|admin)"
    r"(/[^/]+(?P<way>/run\b|/events\b)?)?"
)
_APPS = {
    "models": "runs.app",
    "history": "executions.history_app",
    "usage": "executions.history_app",
    "/run": "runs.app",
    "/events": "executions.events_app",
}
"""The apps that are not named after their paths."""
ROOMS = (
    "/tools",
    "/agents",
    "/models",
    "/executions",
    "/history",
    "/usage",
    "/secrets",
    "/keys",
    "/audit",
    "/admin",
)
LIMIT_HEADERS = {"x-ratelimit-limit", "x-ratelimit-window", "ratelimit-policy"}
KNOWN_USE_HEADERS = {"x-ratelimit-remaining", "ratelimit"}
"""On top of those, while Redis answers."""


def app_of(path: str) -> str:
    """Return the app, `<room>.<module>`, that serves a path (without its query)."""
    match = _ROOM.match(path)
    name = (match["way"] or match["room"]) if match else "system"
    return _APPS.get(name, f"{name}.app")


def handler_of(path: str) -> Handler:
    """Return the handler that serves a path (without its query)."""
    handler: Handler = importlib.import_module(f"functions.{app_of(path)}").handler
    return handler


def environment_of(path: str) -> AbstractContextManager[None]:
    """Give settings what the function of a path has in its own environment."""
    return (
        configured(database_user="map_operator") if app_of(path) == "admin.app" else nullcontext()
    )


class Client:
    """Calls as one caller, or as nobody; holds every answer against what all answers promise."""

    def __init__(self, caller: Caller | None = None) -> None:
        self.caller = caller

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request; a path that starts with `/tools` and the like is below `/api/v1`."""
        if path.startswith(ROOMS):
            path = BASE + path
        answer = self.send(method, path, body, headers)
        check(answer)
        return answer

    def send(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None
    ) -> Answer:
        """Call the handler."""
        bare = path.partition("?")[0]
        with environment_of(bare):
            answer = invoke(handler_of(bare), method, path, body, self.caller, headers)
        if self.caller and path.startswith(BASE):
            assert answer.headers.keys() >= LIMIT_HEADERS
        return answer

    def tool(self, name: str = "web", **fields: Any) -> dict[str, Any]:
        """Return a new tool."""
        return self._made("/tools", TOOL | {"name": name} | fields)

    def agent(self, name: str = "Ann", **fields: Any) -> dict[str, Any]:
        """Return a new agent."""
        return self._made("/agents", AGENT | {"name": name} | fields)

    def run(self, agent: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Return a new run of an agent."""
        answer = self("POST", f"/agents/{agent['id']}/run", RUN | fields)
        assert answer.status == 200, answer.text
        made: dict[str, Any] = answer.json
        return made

    def _made(self, path: str, body: object) -> dict[str, Any]:
        answer = self("POST", path, body)
        assert answer.status == 201, answer.text
        made: dict[str, Any] = answer.json
        return made


def check(answer: Answer) -> None:
    """Hold an answer against what all answers promise: a request id, and one shape of errors."""
    assert answer.headers["x-request-id"]
    if answer.status >= 400:
        ErrorBody.model_validate_json(answer.text)
        assert answer.headers["content-type"] == "application/json"


def refused_fields(answer: Answer) -> set[str]:
    """Return the fields that a VALIDATION_ERROR complains about."""
    assert (answer.status, answer.error_code) == (422, "VALIDATION_ERROR"), answer.text
    errors = answer.json["details"]["errors"]
    assert all(set(error) == {"field", "message", "type"} for error in errors)
    return {error["field"] for error in errors}


def missing_scope(answer: Answer) -> str:
    """Return the scope that a refusal names."""
    assert (answer.status, answer.error_code) == (403, "INSUFFICIENT_SCOPE"), answer.text
    [scope] = answer.json["details"].values()
    return str(scope)


def ids(answer: Answer) -> list[str]:
    """Return the ids of a page's items."""
    assert answer.status == 200, answer.text
    return [item["id"] for item in answer.json["items"]]


def identified(*sent: str) -> list[Caller | None]:
    """Return whom the authorizer takes keys for, as it tells API Gateway; None for one refused."""
    arn = "arn:aws:execute-api:eu-west-1:000000000000:api-id/live/GET/api/v1/tools"
    with configured(database_user="map_authorizer"):
        answers = [
            authorizer.handler(
                event("GET", f"{BASE}/tools", headers={"X-API-KEY": key}) | {"methodArn": arn},
                Context(),
            )
            for key in sent
        ]
    return [
        Caller.from_event({"requestContext": {"authorizer": answer["context"]}})
        if answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
        else None
        for answer in answers
    ]
