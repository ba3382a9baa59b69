"""The Makefile's own commands: what they list, remove, keep and refuse."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT, LocalStack

FAKE_PIP = """
import sys
print("Collecting one==1.0 (from -r x)", "Collecting two==2.0", "a warning", sep="\\n")
print("Installing collected packages: one, two")
sys.exit({code})
"""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make without what the make around this test may have set."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(ROOT), "--no-print-directory", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_make_help_lists_every_command() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^  make (\S+)", make("help").stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony.split())


def test_make_clean_removes_its_own_data_and_says_so(tmp_path: Path) -> None:
    for name in ("postgres", "redis", "logs", "sockets"):
        (tmp_path / name).mkdir()
    (tmp_path / "lambda-url").touch()
    (tmp_path / "of the user").touch()
    cleaned = make("clean", f"DATA={tmp_path}")
    assert cleaned.returncode == 0
    assert str(tmp_path) in cleaned.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["of the user"]


def test_make_reset_keeps_a_copy_and_says_where(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "postgres").mkdir(parents=True)
    (data / "postgres/PG_VERSION").write_text("18")
    (data / "of the user").touch()
    reset = make("reset", f"DATA={data}")
    assert reset.returncode == 0
    [copy] = [folder for folder in tmp_path.iterdir() if folder != data]
    assert f"make run DATA={copy} has them" in reset.stdout
    assert (copy / "postgres/PG_VERSION").read_text() == "18"
    assert [path.name for path in data.iterdir()] == ["of the user"]


def test_make_reset_without_data_moves_nothing(tmp_path: Path) -> None:
    reset = make("reset", f"DATA={tmp_path / 'data'}")
    assert reset.returncode == 0
    assert "there are no data" in reset.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["clean", "reset"])
def test_a_running_platform_keeps_its_data(local_stack: LocalStack, command: str) -> None:
    refused = make(command, f"DATA={local_stack.data}")
    assert refused.returncode != 0
    assert "stop it first" in refused.stdout
    assert (local_stack.data / "postgres").exists()


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("#!/bin/sh\nexit 1", "Python 3.11 or later is needed"),
        ("#!/bin/sh\ncase $2 in *ensurepip*) exit 1;; esac", "apt install python3-venv"),
        (None, "is missing: install Python 3.11"),
    ],
)
def test_a_python_that_is_no_good_is_told_in_one_line(
    tmp_path: Path, python: str | None, words: str
) -> None:
    program = tmp_path / "python"
    if python:
        program.write_text(python)
        program.chmod(0o755)
    made = make("run", f"PYTHON={program}", f"VENV={tmp_path / 'venv'}")
    assert made.returncode != 0
    assert words in made.stdout
    assert made.stdout.count("\n") == 1
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("code", [0, 1])
def test_an_installation_is_one_line_and_its_failure_is_pip_s_own(
    tmp_path: Path, code: int
) -> None:
    (tmp_path / "pip.py").write_text(FAKE_PIP.format(code=code))
    lock = tmp_path / "lock.txt"
    lock.write_text("one==1.0 \\\n    --hash=sha256:0\ntwo[extra]==2.0 \\\n")
    installed = subprocess.run(
        [sys.executable, "scripts/install.py", str(lock)],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == code
    assert installed.stdout.startswith("pip cannot install" if code else "Installed")
    assert installed.stdout.count("\n") == (6 if code else 1)
    assert ("a warning" in installed.stdout) == bool(code)
