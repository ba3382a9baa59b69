"""schemathesis over the whole OpenAPI document, as each of two tenants."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import LocalStack
from tests.contract.tenants import add_tenant


@pytest.mark.parametrize("seed", [1, 2])
def test_every_operation_keeps_to_the_document(
    local_stack: LocalStack, seed: int, tmp_path: Path
) -> None:
    """No 5xx, no undeclared status, header or body, no ignored key, no invalid data taken."""
    [key] = add_tenant(local_stack)
    ran = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            *("run", f"{local_stack.url}/openapi.json"),
            *("--header", f"X-API-KEY: {key}"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", "8", "--seed", str(seed), "--workers", "2"),
            *("--continue-on-failure", "--generation-database", "none", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
