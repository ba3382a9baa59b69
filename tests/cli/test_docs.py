"""docs/cli.md's commands, run as they stand there by a new user."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.contract.conftest import ROOT, finish, start
from tests.contract.test_readme import ADDRESS, compare

DOCS = ROOT / "docs" / "cli.md"
STEP = re.compile(r"```bash\n(?P<command>[^`]*)```\n\n```text\n(?P<answer>.*?)```", re.DOTALL)
KEY = re.compile(r"map_live_\w{38}")
COLUMNS = "100"


def compare_lines(shown: str, got: str, ids: dict[str, str]) -> None:
    """Hold lines against those shown, word by word; one that ends with … as far as it goes."""
    for said, told in zip(shown.splitlines(), got.splitlines(), strict=True):
        whole = said.endswith("…")
        compare(said if whole else said.split(), told if whole else told.split(), ids)


def test_the_commands_answer_as_shown(tmp_path: Path) -> None:
    text = DOCS.read_text()
    steps = [*STEP.finditer(text)]
    assert len(steps) == text.count("```bash") == 10
    stack = start(tmp_path / ".data")
    try:
        env = make_home(tmp_path)
        known = {ADDRESS: stack.url}
        for step in steps:
            command, shown = step["command"], step["answer"]
            for said, real in known.items():
                command = command.replace(said, real)
            ran = subprocess.run(
                ["bash", "-c", f"{command.strip()} 2>&1"],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            known |= zip(KEY.findall(shown), KEY.findall(ran.stdout), strict=True)
            got = ran.stdout
            for said, real in known.items():
                got = got.replace(real, said)
            compare_lines(shown, got, known)
    finally:
        finish(stack)


def make_home(folder: Path) -> dict[str, str]:
    """Return the environment of a user who has `map` and nothing else."""
    program = folder / "bin" / "map"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m map_cli "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT / "cli"),
        "COLUMNS": COLUMNS,
    }
