"""Waiting for what must happen, however slow the machine is."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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
