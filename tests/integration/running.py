"""Runs with a scripted model: what it says next, and what its tools do, is the test's to choose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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

Said = ModelResponse | Exception | Callable[[ModelRequest], ModelResponse]


def say(text: str = "Done", **fields: Any) -> ModelResponse:
    """An answer that ends a run."""
    return replace(ModelResponse(text, [], "stop", 10, 5), **fields)


def ask_for(*names: str, arguments: Any = None) -> ModelResponse:
    """An answer that asks for tool calls."""
    calls = [ToolCall(f"call-{name}", name, arguments or {"q": name}) for name in names]
    return ModelResponse("", calls, "tool_calls", 10, 5, {"raw": "state"})


class Model:
    """Says one thing after the other, and the last for ever."""

    price: Price | None = None

    def __init__(self, *script: Said) -> None:
        self.script, self.asked = list(script), list[ModelRequest]()
        self.granted: list[int] = []

    def named(self, name: str) -> Self:
        """Cost what a model of the catalogue costs."""
        self.price = catalogue.load()[name].price
        return self

    def ask(self, conversation: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        assert max_tokens > 0
        assert seconds > 0
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.asked.append(conversation)
        self.granted.append(max_tokens)
        if isinstance(said, Exception):
            raise said
        return said(conversation) if callable(said) else said


class Outside:
    """What the tools of all agents do: by default they say their arguments."""

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
    """The run waits for a person."""


class Waits:
    """Waits as the worker does, without an engine behind it."""

    def __init__(self) -> None:
        self.replays: list[int] = []

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
        self.replays.append(number)


class Engine:
    """Takes what is queued, and works on it when it is told to."""

    def __init__(self) -> None:
        self.queued: list[RunCaller] = []
        self.away = False

    def start(self, run: RunCaller) -> None:
        """Queue a run, unless the engine is away."""
        if self.away:
            raise ServiceUnavailable(reason="background")
        self.queued.append(run)

    def work(self, run: RunCaller, owner: str = "engine") -> RunState | None:
        """Do what the worker does; None if it may not have the run."""
        return service.work(run, owner, Waits())


@contextmanager
def scripted(monkeypatch: pytest.MonkeyPatch, model: Model, outside: Outside) -> Iterator[Engine]:
    """Put a scripted model, its tools and an engine in the place of real ones."""
    engine = Engine()
    with monkeypatch.context() as patch:
        patch.setattr(credentials, "model", lambda _caller, _agent, name, _key: model.named(name))
        patch.setattr(credentials, "is_free", lambda _name: False)
        patch.setattr(invocation, "call", outside)
        patch.setattr(background, "is_there", lambda: True)
        patch.setattr(background, "start", engine.start)
        yield engine
