"""Field types that several rooms share: texts, trimmed and never blank, and times."""

from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, StringConstraints

VISIBLE = r"^[^\x00]*[^\s\x00][^\x00]*$"
"""At least one character that is no white space; no NUL, which Postgres cannot store."""

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=VISIBLE)
]
Description = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=VISIBLE)
]
Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000, pattern=VISIBLE)
]


def _require_text(value: object) -> object:
    """Refuse a bare number, which pydantic would take for seconds since 1970."""
    if isinstance(value, str) and not value[:5].endswith("-"):
        raise ValueError("must be a time such as 2024-01-15T10:30:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_require_text)]
