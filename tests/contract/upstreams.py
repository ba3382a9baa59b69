"""The services that runs call: a model provider and a web server with tools.

Tests count the calls of each step of a run, and hold a run in the middle of one. A run's prompt is
its case. The model asks for the tools of a plan, one after the other, then answers; like a real one
it knows only the messages that it is sent.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.fakes import Behaviour, FakeOpenAI, call, say, status
from tests.integration.web import Seen, Web, reply

Step = tuple[str, int]
"""A case, and the number of a step of its run."""


@dataclass
class Upstreams:
    """A fake OpenAI and a web server, which know which step of which run calls them."""

    plan: tuple[str, ...]
    """The tools that the model asks for."""
    calls: Counter[Step] = field(default_factory=Counter)
    held: set[Step] = field(default_factory=set)
    """The steps whose call waits now."""
    tool_result: Callable[[str], str] = lambda case: f"done for {case}"
    _to_hold: set[Step] = field(default_factory=set)
    _release: threading.Event = field(default_factory=threading.Event)
    _fails: bool = False

    def __enter__(self) -> Self:
        self.model = FakeOpenAI(self._model).__enter__()
        self.web = Web(self._tool).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self.web.__exit__()
        self.model.__exit__()

    @contextmanager
    def holding(self, *steps: Step) -> Iterator[None]:
        """Keep the first call of each of these steps waiting until the block is over."""
        self._to_hold, self.held, self._release = set(steps), set(), threading.Event()
        try:
            yield
        finally:
            self._to_hold = set()
            self._release.set()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let the model fail until the block is over."""
        self._fails = True
        try:
            yield
        finally:
            self._fails = False

    def counts(self, case: str) -> list[int]:
        """Return how often each step of a case's run made its call."""
        last = max((step for known, step in self.calls if known == case), default=0)
        return [self.calls[case, step] for step in range(1, last + 1)]

    def _model(self, body: dict[str, Any]) -> Behaviour:
        [case] = {m["content"] for m in body["messages"] if m["role"] == "user"}
        answers = sum(m["role"] == "assistant" for m in body["messages"])
        self._count((case, 2 * answers + 1))
        if self._fails:
            return status(500)
        if answers < len(self.plan):
            return call(self.plan[answers], {"case": case, "step": 2 * answers + 2})
        return say(f"All done for {case}")

    def _tool(self, request: Seen) -> list[bytes]:
        arguments = json.loads(request.body)
        self._count((arguments["case"], arguments["step"]))
        return reply(self.tool_result(arguments["case"]))

    def _count(self, step: Step) -> None:
        self.calls[step] += 1
        if step in self._to_hold:
            self._to_hold.discard(step)
            self.held.add(step)
            self._release.wait()


def lambda_url(pid: int) -> str:
    """Return where a sandbox finds Lambda."""
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    [url] = re.findall(rb"AWS_ENDPOINT_URL_LAMBDA=([^\0]+)", environment)
    return str(url.decode())
