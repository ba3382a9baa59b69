"""What `sam build` makes of this tree, built once a session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.template.templates import ROOT


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a folder for each function and layer, for arm64."""
    folder = tmp_path_factory.mktemp("build")
    sam("build", "--parallel", "--build-dir", str(folder), "--no-cached")
    return folder


def sam(*arguments: str) -> str:
    """Run the SAM CLI in this tree and return what it printed."""
    programs = Path(sys.executable).parent
    ran = subprocess.run(
        [programs / "sam", *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
