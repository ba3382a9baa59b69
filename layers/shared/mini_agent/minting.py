"""New API keys: the one place that makes them, for whichever room writes them down."""

from typing import Any
from uuid import UUID, uuid4

from mini_agent import keys
from mini_agent.peppers import peppers


def mint() -> tuple[str, dict[str, Any]]:
    """Return a new key, to be shown once, and what the database keeps of it instead.

    The fields are id, digest (by the newest pepper), pepper_version, prefix and last_four.
    Raises GetParameterError while the peppers cannot be read.
    """
    key = keys.generate()
    version, pepper = max(peppers().items())
    fields: dict[str, UUID | bytes | int | str] = {
        "id": uuid4(),
        "digest": keys.digest(key, pepper),
        "pepper_version": version,
        "prefix": keys.PREFIX,
        "last_four": key[-4:],
    }
    return key, fields
