"""How a run waits for a person's approval: in the background, never in the caller's request."""

from typing import NoReturn, Protocol

from functions.runs.definitions import RunLimits
from functions.runs.engine.journal import Journal
from functions.runs.llm.messages import ToolCall


class Approvals(Protocol):
    """Waits for decisions."""

    def wait(self, journal: Journal, number: int, call: ToolCall, seconds: int) -> NoReturn:
        """Let the run wait for the decision on a step; ends the loop by raising."""

    def replay(self, number: int) -> None:
        """Repeat the wait for a step that has its decision, in the order of the steps."""


class RunHandedOver(Exception):
    """The run is queued and continues in the background."""


class BackgroundHandOver:
    """Approvals of a run whose caller waits: it must continue in the background."""

    def __init__(self, limits: RunLimits) -> None:
        """`limits` are the run's caps in the background."""
        self._limits = limits

    def wait(self, journal: Journal, number: int, call: ToolCall, seconds: int) -> NoReturn:
        """Queue the run for a worker; raises RunHandedOver."""
        del number, call, seconds
        journal.hand_over(self._limits)
        raise RunHandedOver

    def replay(self, number: int) -> None:
        """Do nothing: a run that nobody has claimed before has no decisions."""
