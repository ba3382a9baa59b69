"""The OpenAPI document by the default rules of two linters: no error, no warning."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "functions/system/openapi.json"
needs_node = pytest.mark.skipif(
    not (HERE / "node_modules").is_dir() or not shutil.which("node"),
    reason="run `make tests/clients/node_modules/.ready` first",
)
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def node(program: str, *arguments: str, folder: Path = HERE) -> str:
    """Run one of the packages' programs and return what it prints."""
    run = subprocess.run(
        [HERE / "node_modules/.bin" / program, *arguments],
        cwd=folder,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@needs_node
def test_redocly_has_nothing_to_say() -> None:
    said = json.loads(node("redocly", "lint", "--format=json", str(DOCUMENT)))
    assert said["problems"] == []


@needs_node
def test_spectral_has_nothing_to_say_but_one_reasoned_exception() -> None:
    # "hint" fails the run on any finding.
    rules = ["--ruleset", "spectral.yaml", "--fail-severity", "hint"]
    assert "No results" in node("spectral", "lint", *rules, str(DOCUMENT))
