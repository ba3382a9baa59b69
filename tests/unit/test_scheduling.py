"""How tests are shared out to processes."""

from pathlib import Path

import pytest

from tests.scheduling import LONGEST, TOGETHER

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", [*LONGEST, *TOGETHER])
def test_every_listed_file_exists(path: str) -> None:
    assert (ROOT / path).exists()
