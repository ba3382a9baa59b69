"""No test here may open a socket."""

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None)  # a busy machine is no failure
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def offline(socket_disabled: None) -> None:
    """Any socket raises."""
