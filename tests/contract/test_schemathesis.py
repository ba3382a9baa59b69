"""The whole OpenAPI document against the running platform: generated requests, right and wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import LocalStack
from tests.contract.tenants import add_tenant

DOCUMENT = Path(__file__).parents[2] / "functions/system/openapi.json"
SECONDS = 600  # only to end what hangs
CONFIG = """
[auth.wfc]
path = "keys.json"
user = "{user}"
peers = ["a", "b"]  # what one has made, the other must not see
"""


@pytest.fixture(scope="module")
def keys(local_stack: LocalStack) -> dict[str, str]:
    return {name: add_tenant(local_stack)[0] for name in "ab"}


@pytest.mark.parametrize(
    ("user", "phases"), [("a", "examples,coverage"), ("b", "fuzzing"), ("b", "stateful")]
)
def test_every_answer_is_as_the_document_says(
    local_stack: LocalStack, keys: dict[str, str], tmp_path: Path, user: str, phases: str
) -> None:
    """No 5xx, no undeclared status, header, type or form, no route that fails to ask who calls."""
    headers = {name: [{"name": "X-API-KEY", "value": key}] for name, key in keys.items()}
    auth = [{"name": name, "fixedHeaders": sent} for name, sent in headers.items()]
    (tmp_path / "keys.json").write_text(json.dumps({"auth": auth}))
    (tmp_path / "schemathesis.toml").write_text(CONFIG.format(user=user))
    command = [
        *(str(Path(sys.executable).with_name("st")), "run", f"{local_stack.url}/openapi.json"),
        # One worker: CPython 3.11 counts recursion in `ast` for all threads together, and gives up.
        *("--phases", phases, "--max-examples", "10", "--workers", "1", "--seed", "1"),
        *("--request-timeout", "90"),  # a busy machine is slow
        # A cursor and a model can be wrong in ways that no schema tells.
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
        *("--generation-database", "none", "--no-color"),
    ]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    operations = sum(map(len, json.loads(DOCUMENT.read_text())["paths"].values()))
    assert f"{operations} selected / {operations} total" in run.stdout
