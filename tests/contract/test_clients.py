"""Clients generated from the document, without a warning, against the running platform."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.test_linters import DOCUMENT, HERE, needs_node, node
from tests.contract.conftest import LocalStack
from tests.contract.tenants import add_tenant


def python(program: str, *arguments: str, folder: Path) -> str:
    """Run a program of this virtual environment and return what it prints."""
    path = Path(sys.executable).parent
    run = subprocess.run(
        [path / program, *arguments],
        cwd=folder,
        env={"PATH": f"{path}:/usr/bin:/bin"},  # the generator formats with ruff
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def seen(tool: str) -> dict[str, object]:
    return {
        "tools": [tool],
        "total": 1,
        "steps": 1,
        "stop_reason": "answered",
        "same": True,
        "error": "TOOL_NOT_FOUND",
    }


def test_a_python_client_goes_through_the_workflow_with_typed_results(
    local_stack: LocalStack, tmp_path: Path
) -> None:
    config = ["--config", str(HERE / "openapi-python-client.yaml"), "--output-path", "client"]
    arguments = ["generate", "--path", str(DOCUMENT), *config, "--fail-on-warning"]
    assert "WARNING" not in python("openapi-python-client", *arguments, folder=tmp_path).upper()
    shutil.copy(HERE / "workflow.py", tmp_path / "client")
    strict = ["--strict", "--follow-imports=silent", "workflow.py"]
    python("mypy", *strict, folder=tmp_path / "client")
    [key] = add_tenant(local_stack)
    said = python("python", "workflow.py", local_stack.url, key, folder=tmp_path / "client")
    assert json.loads(said) == seen("python_search")


@needs_node
def test_a_typescript_client_goes_through_the_workflow_with_typed_results(
    local_stack: LocalStack, tmp_path: Path
) -> None:
    for name in ("workflow.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    # Without the option, fields that have a default would be required in bodies.
    options = ["--default-non-nullable=false", "--output", "api.d.ts"]
    said = node("openapi-typescript", str(DOCUMENT), *options, folder=tmp_path)
    assert "warn" not in said.lower()
    node("tsc", folder=tmp_path)
    [key] = add_tenant(local_stack)
    run = subprocess.run(
        ["node", "out/workflow.js", local_stack.url, key],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == seen("typescript_search")
