"""Many sandboxes at the same moment, each a process of its own."""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from mini_agent.identity.callers import Caller
from tests.databases import configured
from tests.integration.client import Client
from tests.waiting import until

if TYPE_CHECKING:
    from multiprocessing.queues import Queue  # generic for the type checker alone

R = TypeVar("R")
PRELOADED = [
    *("tests.conftest", "tests.fakes", "tests.integration.running", "tests.integration.sandboxes"),
    *("functions.tools.app", "functions.runs.app", "functions.runs.llm.providers", "hypothesis"),
    *("anyio._backends._asyncio", "genai_prices.data", "openai.resources.chat"),
    *("pydantic_ai.direct", "pydantic_ai.models.openai", "pydantic_ai.providers.openai"),
]
"""What the fork server imports, so that no sandbox has to; all tests share the server."""
LONGEST_SECONDS = 120


def at_once(
    sandboxes: int,
    caller: Caller,
    send: Callable[[Client], R],
    meanwhile: Callable[[], None] = lambda: None,
) -> list[R]:
    """Call `send` in so many sandboxes at the same moment, and return what it returned in each.

    `send` is a module's function, or a partial of one. `meanwhile` is called here.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    together, answers = server.Barrier(sandboxes + 1), server.Queue()
    environment = {name: value for name, value in os.environ.items() if name.startswith("MAP_")}
    processes = [
        server.Process(target=_sandbox, args=(environment, together, answers, caller, send))
        for _ in range(sandboxes)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        for process in processes:
            process.start()
    try:
        together.wait(LONGEST_SECONDS)
        meanwhile()
        returned = [answers.get(timeout=LONGEST_SECONDS) for _ in processes]
        for process in processes:
            process.join(LONGEST_SECONDS)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
        answers.close()
    return returned


def _sandbox(
    environment: dict[str, str],
    together: Barrier,
    answers: "Queue[Any]",
    caller: Caller,
    send: Callable[[Client], Any],
) -> None:
    os.environ.update(environment)
    asyncio.set_event_loop(asyncio.new_event_loop())  # the first one is the fork server's
    with configured():
        client = Client(caller)
        # A busy machine connects slowly.
        until(lambda: client("GET", "/tools").status == 200, LONGEST_SECONDS)
        together.wait(LONGEST_SECONDS)
        answers.put(send(client))
