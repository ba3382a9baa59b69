"""Field types that several rooms use: trimmed texts of at least one visible character."""

from typing import Annotated

from pydantic import StringConstraints

VISIBLE = r"^[^\x00]*[^\s\x00][^\x00]*$"
"""Something besides white space, and no NUL, which Postgres cannot store."""

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=VISIBLE)
]
Description = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=VISIBLE)
]
Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000, pattern=VISIBLE)
]
