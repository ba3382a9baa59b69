"""What is installed under the project's name."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy: building leaves its traces where it happens."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "cli", source / "cli", ignore=shutil.ignore_patterns("*.egg-info"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(source), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    [made] = source.glob("*.whl")
    return made


def test_the_wheel_holds_the_command_line_alone_and_needs_nothing_of_the_platform(
    wheel: Path,
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [archive.read(n).decode() for n in names if n.endswith("/METADATA")]
        [entries] = [archive.read(n).decode() for n in names if n.endswith("/entry_points.txt")]
    modules = {path.name for path in (ROOT / "cli" / "map_cli").glob("*.py")}
    assert {n for n in names if ".dist-info/" not in n} == {f"map_cli/{m}" for m in modules}
    assert "map = map_cli.main:app" in entries
    needed = re.findall(r"^Requires-Dist: ([a-z0-9-]+)[^;\n]*$", metadata, re.MULTILINE)
    assert set(needed) == {"httpx", "httpx-sse", "typer"}


def test_it_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-m", "map_cli", "--help"]
    told = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=True)
    assert b"Usage: map" in told.stdout


def test_the_layers_have_nothing_of_it() -> None:
    for locked in (ROOT / "layers").glob("*/requirements.txt"):
        assert not re.findall(r"^(typer|rich|httpx-sse)==", locked.read_text(), re.MULTILINE)
