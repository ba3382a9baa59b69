"""What ends a command: one or two lines that say what to do, and the exit code."""

REFUSED = 1
"""The API refused, or a run failed."""
NOT_LOGGED_IN = 3
"""No key, or one that the API refused."""
AWAY = 4
"""The platform cannot be reached, or is unavailable."""


class Problem(Exception):
    """A command cannot do what it was asked; told on stderr."""

    def __init__(self, told: str, exit_code: int = REFUSED) -> None:
        super().__init__(told)
        self.exit_code = exit_code
