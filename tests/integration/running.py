"""Runs with a scripted model: what it says next, and what its tools do, is the test's choice."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Self

import pytest

from functions.runs import background, service
from functions.runs.definitions import ToolDefinition, ToolResult
from functions.runs.engine.journal import Journal
from functions.runs.engine.records import RunState
from functions.runs.llm import catalogue, credentials
from functions.runs.llm.catalogue import Price
from functions.runs.llm.messages import ModelRequest, ModelResponse, ToolCall
from functions.runs.tools import invocation
from mini_agent.errors import ServiceUnavailable
from mini_agent.identity.callers import RunCaller
from tests.events import Answer
from tests.integration.client import RUN, Client

BACKGROUND = {"Prefer": "respond-async"}

Said = ModelResponse | Exception | Callable[[ModelRequest], ModelResponse]


class Crash(BaseException):
    """The process dies: nothing after it is done."""


def say(text: str = "Done", **fields: Any) -> ModelResponse:
    """A response that ends a run."""
    return replace(ModelResponse(text, [], "stop", 10, 5), **fields)


def ask_for(*names: str, arguments: Any = None) -> ModelResponse:
    """A response that asks for tool calls."""
    calls = [ToolCall(f"call-{name}", name, arguments or {"q": name}) for name in names]
    return ModelResponse("", calls, "tool_calls", 10, 5, {"raw": "state"})


class Model:
    """Says one thing after the other, and repeats the last."""

    price: Price | None = None

    def __init__(self, *script: Said) -> None:
        self.script, self.asked = list(script), list[ModelRequest]()
        self.granted: list[int] = []

    def named(self, name: str) -> Self:
        """Cost what a model of the catalogue costs."""
        self.price = catalogue.load()[name].price
        return self

    def ask(self, request: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        assert max_tokens > 0
        assert seconds > 0
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.asked.append(request)
        self.granted.append(max_tokens)
        if isinstance(said, Exception):
            raise said
        return said(request) if callable(said) else said

    def heard(self) -> str:
        """Return what the model read last of a tool."""
        [result] = self.asked[-1].turns[-1].results
        return result.content


class Outside:
    """What the tools of all agents do: by default they say hello."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.does: Callable[[str], str] = lambda name: f"{name} says hello"

    def __call__(
        self, caller: RunCaller, tool: ToolDefinition, arguments: dict[str, Any], seconds: float
    ) -> ToolResult:
        assert caller.tenant_id
        assert seconds > 0
        self.calls.append((tool.name, arguments))
        return ToolResult(ok=True, content=self.does(tool.name))


class Waiting(Exception):
    """The run waits for an approval."""


class Waits:
    """Waits as the worker does, without Lambda behind it."""

    def wait(self, journal: Journal, number: int, call: ToolCall, seconds: int) -> NoReturn:
        journal.await_approval(
            number,
            tool=call.name,
            arguments=call.arguments,
            callback="",
            seconds=seconds,
        )
        raise Waiting

    def replay(self, number: int) -> None:
        """Nothing to repeat."""


class Engine:
    """Keeps what is queued, and works on it when a test says so."""

    def __init__(self) -> None:
        self.queued: list[RunCaller] = []
        self.away = False

    def start(self, run: RunCaller) -> None:
        """Queue a run, unless the background is away."""
        if self.away:
            raise ServiceUnavailable(reason="background")
        self.queued.append(run)

    def work(self, run: RunCaller, owner: str = "engine") -> RunState | None:
        """Do what the worker does; None if it cannot claim the run."""
        return service.work(run, owner, Waits())


@contextmanager
def scripted(monkeypatch: pytest.MonkeyPatch, model: Model, outside: Outside) -> Iterator[Engine]:
    """Put a scripted model, its tools and a background in the place of real ones."""
    engine = Engine()
    with monkeypatch.context() as patch:
        patch.setattr(credentials, "model", lambda _caller, _agent, name, _key: model.named(name))
        patch.setattr(credentials, "is_free", lambda _name: False)
        patch.setattr(invocation, "call", outside)
        patch.setattr(background, "is_available", lambda: True)
        patch.setattr(background, "start", engine.start)
        yield engine


Run = RunCaller | Mapping[str, Any]
"""A run of the background, or one as its caller got it."""


@dataclass
class Runs:
    """Runs of one agent, with a scripted model, its tools and a background."""

    client: Client
    agent: dict[str, Any]
    engine: Engine
    model: Model
    outside: Outside
    fields: dict[str, Any] = field(default_factory=dict)
    """What each request says besides prompt and model."""

    def post(self, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """Run the agent."""
        path = f"/agents/{self.agent['id']}/run"
        return self.client("POST", path, RUN | self.fields | fields, headers)

    def queue(self, **fields: Any) -> RunCaller:
        """Run the agent in the background, which has not started yet."""
        answer = self.post(BACKGROUND, **fields)
        assert answer.status == 202, answer.text
        path = f"/api/v1/executions/{answer.json['execution_id']}"
        assert answer.headers["location"] == f"/live{path}"
        assert self.client("GET", path).json["status"] == "queued"
        return self.engine.queued.pop()

    def work(self, run: RunCaller, owner: str = "engine") -> RunState:
        """Work on a run of the background that can be claimed."""
        state = self.engine.work(run, owner)
        assert state
        return state

    def wait(self, run: RunCaller) -> None:
        """Work on a run of the background until it needs an approval."""
        with pytest.raises(Waiting):
            self.engine.work(run)

    def execution(self, run: Run) -> dict[str, Any]:
        """Return a run's current state as the API has it."""
        execution: dict[str, Any] = self.client("GET", f"/executions/{_id(run)}").json
        assert (execution["finished_at"] is None) == (execution["stop_reason"] is None)
        return execution

    def state(self, run: Run) -> tuple[str, str | None]:
        """Return a run's status and stop reason."""
        execution = self.execution(run)
        return execution["status"], execution["stop_reason"]

    def step_items(self, run: Run) -> list[dict[str, Any]]:
        """Return a run's steps as the API has them."""
        items: list[dict[str, Any]] = self.client("GET", f"/executions/{_id(run)}/steps").json[
            "items"
        ]
        assert [item["number"] for item in items] == list(range(1, len(items) + 1))
        return items

    def steps(self, run: Run) -> list[tuple[str, str, str | None]]:
        """Return kind, status and tool of a run's steps."""
        return [(item["kind"], item["status"], item["tool"]) for item in self.step_items(run)]

    def cancel(self, run: Run) -> Answer:
        """Cancel a run."""
        return self.client("POST", f"/executions/{_id(run)}/cancel")

    def decide(self, run: Run, decision: str, step: int = 2, **fields: Any) -> Answer:
        """Decide an approval."""
        path = f"/executions/{_id(run)}/approvals/{step}"
        return self.client("POST", path, {"decision": decision} | fields)


def _id(run: Run) -> object:
    return run.execution_id if isinstance(run, RunCaller) else run["execution_id"]
