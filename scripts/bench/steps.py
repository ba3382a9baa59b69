"""Measures what the run engine adds to each step of a run, whose model and tools answer at once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

import psycopg

from functions.runs import background, service
from functions.runs.definitions import ToolResult
from functions.runs.engine.journal import Journal, StepOutcome, step_parameters
from functions.runs.llm import credentials
from functions.runs.llm.messages import ModelRequest, ModelResponse, ToolCall
from functions.runs.models import RunCreate
from functions.runs.tools import invocation
from mini_agent.data import queries
from mini_agent.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from mini_agent.identity.callers import Caller, RunCaller

TOOL = "a tool 1"


class Instant:
    """A model that asks for one tool after the other, and then answers."""

    price = None

    def __init__(self, steps: int) -> None:
        self.calls = steps // 2

    def ask(self, conversation: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        """Return the next answer."""
        del max_tokens, seconds
        if len(conversation.turns) < self.calls:
            return ModelResponse("", [ToolCall("1", TOOL, {"query": "news"})], "tool_calls", 1, 1)
        return ModelResponse("Done", [], "stop", 1, 1)


class NoApprovals:
    """No call needs an approval."""

    def wait(self, journal: Journal, number: int, call: ToolCall, seconds: int) -> NoReturn:
        """Never asked."""
        raise NotImplementedError

    def replay(self, number: int) -> None:
        """Never asked."""
        raise NotImplementedError


class Engine:
    """Runs of one agent, queued for nobody but this process."""

    def __init__(self, caller: Caller, agent: UUID) -> None:
        self.caller, self.agent = caller, agent
        self.queued: list[RunCaller] = []
        self._patches = ExitStack()
        for owner, name, instead in (
            (background, "is_available", lambda: True),
            (background, "start", self.queued.append),
            (invocation, "call", lambda *_: ToolResult(ok=True, content="It rains.")),
        ):
            self._patches.enter_context(patch.object(owner, name, instead))
        s = settings()
        self.conn = psycopg.connect(
            host=s.database_host,
            dbname=s.database_name,
            user=s.database_user,
            autocommit=True,
            prepare_threshold=None,
        )

    def queue(self) -> RunCaller:
        """Return a new run."""
        asked = RunCreate(prompt="What is new?", model="gpt-4o", max_steps=100)
        service.run(self.caller, self.agent, asked, in_background=True)
        return self.queued.pop()

    def run(self, steps: int) -> Callable[[], Any]:
        """Return what works a new run of so many steps off."""
        run = self.queue()

        def work() -> None:
            with patch.object(credentials, "model", lambda *_: Instant(steps)):
                over = service.work(run, "bench", NoApprovals())
            if over is None or over.steps != steps:
                raise SystemExit(f"a run of {steps} steps ended otherwise: {over}")

        return work

    def bare(self, steps: int) -> Callable[[], Any]:
        """Return what writes so many steps of a new run down, and does nothing else."""
        run = self.queue()
        journal = Journal.claim(run, "bench")
        if journal is None:
            raise SystemExit("a new run is not to be had")
        mine = {"id": run.execution_id, "attempt": journal.run.attempt}
        return partial(self._write_down, run, mine, steps)

    def _write_down(self, run: RunCaller, mine: dict[str, Any], steps: int) -> None:
        done = StepOutcome("completed", {"content": "It rains."})
        for number in range(1, steps + 1):
            begun = step_parameters(
                number, "tool", seconds=10, tool=TOOL, arguments={"query": "news"}
            )
            self._write(run, "runs/start_step", mine | begun)
            self._write(run, "runs/finish_step", mine | done.parameters(number))

    def _write(self, run: RunCaller, query: str, parameters: dict[str, Any]) -> None:
        with self.conn.pipeline():
            self.conn.execute("BEGIN")
            entering = (run.tenant_id, run.execution_id)
            self.conn.execute("select app.enter_run(%s, %s)", entering)
            written = self.conn.execute(queries.load(query), parameters)
        if not written.fetchall():
            raise SystemExit(f"{query} wrote nothing")
        self.conn.commit()
