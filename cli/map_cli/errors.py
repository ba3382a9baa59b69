"""Why a command ends without success: one or two lines that say what to do, and the exit code."""

REFUSED = 1
"""The API refused, or a run failed."""
NOT_LOGGED_IN = 3
"""There is no key, or the API refused it."""
UNAVAILABLE = 4
"""The platform cannot be reached or is not available."""


class CommandError(Exception):
    """A command cannot do what it was asked. The message goes to stderr."""

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
