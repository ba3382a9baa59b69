"""What runs talk to outside of the platform: a model and its tools, each step held at will.

A run's prompt is its case. Its model asks for the tools of a plan, one after the other, then
answers; what it says next depends on the conversation alone, as it does with real ones.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from tests.fakes import Behaviour, FakeOpenAI, call, say, status
from tests.integration.web import Seen, Web, reply

PATIENCE_SECONDS = 90
Point = tuple[str, int]
"""A case, and the number of a step."""


@dataclass
class World:
    """A fake OpenAI and a web server; both count who came, by case and step."""

    plan: tuple[str, ...]
    seen: Counter[Point] = field(default_factory=Counter)
    held: set[Point] = field(default_factory=set)
    inside: set[Point] = field(default_factory=set)
    release: threading.Event = field(default_factory=threading.Event)
    at_tool: Callable[[str], str] = lambda case: f"done for {case}"
    fails: bool = False

    def __enter__(self) -> Self:
        self.model = FakeOpenAI(self._think).__enter__()
        self.web = Web(self._act).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.web.__exit__()
        self.model.__exit__()

    @contextmanager
    def holding(self, *points: Point) -> Iterator[None]:
        """Answer nobody who comes first to one of these points, until the block is over."""
        self.held, self.inside, self.release = set(points), set(), threading.Event()
        try:
            yield
        finally:
            self.held = set()
            self.release.set()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let the model fail, until the block is over."""
        self.fails = True
        try:
            yield
        finally:
            self.fails = False

    def _think(self, body: dict[str, Any]) -> Behaviour:
        [case] = {m["content"] for m in body["messages"] if m["role"] == "user"}
        asked = sum(m["role"] == "assistant" for m in body["messages"])
        self._arrive((case, 2 * asked + 1))
        if self.fails:
            return status(500)
        if asked < len(self.plan):
            return call(self.plan[asked], {"case": case, "step": 2 * asked + 2})
        return say(f"All done for {case}")

    def _act(self, seen: Seen) -> list[bytes]:
        told = json.loads(seen.body)
        self._arrive((told["case"], told["step"]))
        return reply(self.at_tool(told["case"]))

    def _arrive(self, point: Point) -> None:
        self.seen[point] += 1
        if point in self.held:
            self.held.discard(point)
            self.inside.add(point)
            self.release.wait(PATIENCE_SECONDS)

    def counts(self, case: str) -> list[int]:
        """Return how often each step of a case went out."""
        last = max((step for known, step in self.seen if known == case), default=0)
        return [self.seen[case, step] for step in range(1, last + 1)]


def until(found: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Return what is found as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, "this did not happen in time"
        time.sleep(0.05)
    return result


def lambda_url(pid: int) -> str:
    """Return where a sandbox finds Lambda."""
    with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - no file but in name
        [url] = re.findall(rb"AWS_ENDPOINT_URL_LAMBDA=([^\0]+)", file.read())
    return str(url.decode())
