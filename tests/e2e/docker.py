"""`make e2e-docker`: the Docker ways, from nothing to nothing, each step with its time.

`sam local start-api` with README's workflow, then a deployment to LocalStack with its migrations,
a call of every function, an upgrade and the removal. localstack.py says what LocalStack leaves out.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from tests.e2e.localstack import LAYERS, LOG, ROOT, SAM, Stack, deploy, run
from tests.events import event

TENANT_A = UUID("11111111-1111-1111-1111-111111111111")
_summary: list[str] = []


@contextmanager
def step(title: str) -> Iterator[list[str]]:
    """Time a step; what it puts into the list is printed beside it."""
    notes: list[str] = []
    print(f"… {title}", flush=True)
    start = time.monotonic()
    yield notes
    line = f"{time.monotonic() - start:6.1f} s  {title}"
    _summary.append(line + (f": {'; '.join(notes)}" if notes else ""))
    print(_summary[-1], flush=True)


def down() -> None:
    """Stop everything, the sandboxes too that LocalStack may have left."""
    run("make", "down")


def compose_from_nothing() -> None:
    """Start the services with empty volumes."""
    down()
    LAYERS.mkdir(parents=True, exist_ok=True)
    run("docker", "compose", "up", "-d", "--wait", environment={"PWD": str(ROOT)})


def has_runtime_image() -> bool:
    """Tell whether the runtime's image is here, so that nothing need be pulled."""
    command = ["docker", "image", "inspect", "public.ecr.aws/lambda/python:3.13-x86_64"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# ── sam local ────────────────────────────────────────────────────────────────────────────────────


def sam_local() -> None:
    """Migrate, start the API and walk through the workflow with right and wrong keys."""
    offline = ["--skip-pull-image"] if has_runtime_image() else []
    with step("sam build --config-env local"):
        run(SAM, "build", "--config-env", "local")
    with step("sam local invoke MigrateFunction: migrations and seed") as notes:
        out = run(SAM, "local", "invoke", "MigrateFunction", "--config-env", "local", *offline)
        [answer] = [line for line in out.splitlines() if line.startswith('{"applied"')]
        applied = json.loads(answer)["applied"]
        assert applied, out
        notes.append(f"{len(applied)} migrations")
    with step("sam local start-api"):
        api = subprocess.Popen(
            [SAM, "local", "start-api", "--config-env", "local", "--port", "3000", *offline],
            cwd=ROOT,
            env=os.environ | {"SAM_CLI_TELEMETRY": "0"},
            stdout=LOG.open("a"),
            stderr=subprocess.STDOUT,
        )
        wait_for("http://127.0.0.1:3000/health")
        # SAM makes an image for each set of layers at the first call: models' takes half a minute.
        wait_for("http://127.0.0.1:3000/api/v1/models", {"X-API-KEY": "tenant-a-key"})
    try:
        with step("README's workflow and tests/e2e against sam local") as notes:
            out = run(
                *(sys.executable, "-m", "pytest", "-q", "tests/e2e"),
                environment={"MAP_BASE_URL": "http://127.0.0.1:3000"},
            )
            notes.append(out.strip().splitlines()[-1])
    finally:
        api.terminate()
        api.wait(30)


def wait_for(url: str, headers: Mapping[str, str] | None = None, *, seconds: float = 120) -> None:
    """Wait until an address answers 200."""
    end = time.monotonic() + seconds
    while True:
        try:
            httpx.get(url, headers=headers, timeout=60).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > end:
                sys.exit(f"{url} does not answer; see {LOG}")
            time.sleep(0.5)
        else:
            return


# ── LocalStack ───────────────────────────────────────────────────────────────────────────────────


def events(operators_key: UUID) -> dict[str, dict[str, Any]]:
    """Return an event for each function that others than a deployment or an engine call."""
    caller = Caller(TENANT_A, TENANT_A, frozenset(api_keys.SCOPES), 100)
    operator = Caller(api_keys.PLATFORM, operators_key, frozenset({api_keys.OPERATOR_SCOPE}), 100)
    nobody = "00000000-0000-0000-0000-000000000000"
    asked = {"prompt": "Who is there?", "model": "gpt-4o"}
    return {
        "ToolsFunction": event("GET", "/api/v1/tools", caller=caller),
        "AgentsFunction": event("GET", "/api/v1/agents", caller=caller),
        "HistoryFunction": event("GET", "/api/v1/history", caller=caller),
        "ExecutionsFunction": event("GET", f"/api/v1/executions/{nobody}", caller=caller),
        "EventsFunction": event("GET", f"/api/v1/executions/{nobody}/events", caller=caller),
        "SecretsFunction": event("GET", "/api/v1/secrets", caller=caller),
        "RunsFunction": event("POST", f"/api/v1/agents/{nobody}/run", asked, caller),
        "KeysFunction": event("GET", "/api/v1/keys", caller=caller),
        "AuditFunction": event("GET", "/api/v1/audit", caller=caller),
        "AdminFunction": event("GET", "/api/v1/admin/tenants", caller=operator),
        "SystemFunction": event("GET", "/ready"),
        "SweepFunction": {},
        "AuthorizerFunction": event("GET", "/api/v1/tools", headers={"X-API-KEY": "tenant-a-key"})
        | {"type": "REQUEST", "methodArn": "arn:aws:execute-api:us-east-1:1:api/live/GET/tools"},
    }


def call_every_function(stack: Stack) -> list[str]:
    """Call each function once; return what each said."""
    made = stack.invoke("MigrateFunction", {"bootstrap": "e2e"})
    asked = events(UUID(made["key_id"]))
    wanted = dict.fromkeys(asked, 200)
    wanted |= {"RunsFunction": 403, "ExecutionsFunction": 404, "EventsFunction": 404}  # nobody's
    said = []
    for function, payload in asked.items():
        answer = stack.invoke(function, payload)
        if function == "AuthorizerFunction":
            assert answer["context"]["tenant_id"] == str(TENANT_A), answer
            said.append("authorizer knows tenant A")
        elif function == "SweepFunction":
            assert not answer["expired_runs"], answer
            said.append("sweep finds nothing")
        else:
            assert answer["statusCode"] == wanted[function], f"{function}: {answer}"
            said.append(f"{function.removesuffix('Function').lower()} {answer['statusCode']}")
    return said


def refused_without_tenant(stack: Stack) -> str:
    """Ask over HTTP without an authorizer, as LocalStack does; return the function's refusal."""
    assert httpx.get(f"{stack.address()}/health", timeout=60).status_code == 200
    answer = httpx.get(
        f"{stack.address()}/api/v1/tools", headers={"X-API-KEY": "tenant-a-key"}, timeout=60
    )
    body = answer.json()
    assert answer.status_code == 401, body
    assert set(body) == {"error_code", "message", "details"}, body
    return f"401 {body['error_code']}"


@contextmanager
def upgraded_project() -> Iterator[Path]:
    """A copy of the project with one migration more."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        ignored = shutil.ignore_patterns(".git", ".venv*", ".data", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
        (copy / "sql/migrations/9999_upgrade.sql").write_text("comment on schema app is 'newer';\n")
        yield copy


def localstack() -> None:
    """Deploy, migrate, call, upgrade, remove."""
    with step("docker compose down and up again: empty databases"):
        compose_from_nothing()
    with step("sam build and sam deploy --config-env localstack") as notes:
        stack = deploy()
        notes.append(f"{len(stack.resources('AWS::Lambda::Function'))} functions")
    with step("migrations by the custom resource's Create event") as notes:
        notes.append(f"applied {stack.migrations('Create')['Data']['Applied']}")
    with step("every function once, with an API Gateway event") as notes:
        notes.extend(call_every_function(stack))
    with step("a request without a tenant over HTTP") as notes:
        notes.append(refused_without_tenant(stack))
    before = stack.versions()
    with step("upgrade: sam build and sam deploy with one migration more") as notes:
        with upgraded_project() as project:
            deploy(project)
        after = stack.versions()
        assert all(after[name] != version for name, version in before.items()), (before, after)
        notes.append(f"{len(after)} functions at a new version")
    with step("migrations by the custom resource's Update event") as notes:
        notes.append(f"applied {stack.migrations('Update')['Data']['Applied']}")
    with step("every function once more") as notes:
        notes.extend(call_every_function(stack))
    with step("removal: the custom resource's Delete event, the stack's deletion") as notes:
        stack.migrations("Delete")
        stack.remove()
        assert not stack.exists()
        notes.append("no function left")


def main() -> None:
    """Run everything, and print what was run and how long it took."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    start = time.monotonic()
    try:
        with step("docker compose up: Postgres, Valkey, LocalStack"):
            compose_from_nothing()
        sam_local()
        localstack()
    finally:
        with step("docker compose down"):
            down()
    total = time.monotonic() - start
    print("\n".join(["", "What ran:", *_summary, f"{total:6.1f} s  in all"]))


if __name__ == "__main__":
    main()
