"""Waiting for what must happen, however slow the machine is."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

PATIENCE_SECONDS = 90
"""Long enough for a machine with many times the load; nothing waits so long when all is well."""
T = TypeVar("T")


def until(found: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """Return what is found as soon as it is true; AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, "this did not happen in time"
        time.sleep(0.02)
    return result


class Hold:
    """Keeps functions waiting in their middle, by files in a folder; see `handlers.hold`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def until_held(self, count: int = 1) -> None:
        """Return when so many calls are held."""
        until(lambda: len(list(self.folder.glob("held-*"))) >= count)

    def release(self) -> None:
        """Let all calls go on, those that come later too."""
        (self.folder / "release").touch()


class Stopwatch:
    """How long a block took: `elapsed`, and `seconds` without what a busy machine held it up.

    A thread sleeps a hundredth of a second, again and again: what it oversleeps is the machine's.
    """

    TICK = 0.01

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._overslept = 0.0
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed = time.monotonic() - self._started
        self._stop.set()
        self._thread.join()
        self.seconds = self.elapsed - min(self._overslept, self.elapsed)

    def _tick(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(self.TICK):
            now = time.monotonic()
            self._overslept += max(0.0, now - before - 2 * self.TICK)
            before = now
