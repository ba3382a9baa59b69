"""`make e2e-docker`: the Docker ways, from nothing to nothing, each step with its time.

`sam local start-api` with README's workflow, then a deployment to LocalStack with its migrations,
a call of every function, an upgrade and the removal. LocalStack's community edition runs neither
authorizers nor custom resources, and leaves layers out: the layers are mounted instead (see
docker-compose.yml), and this script sends the migrations' custom resource the events that
CloudFormation would, and reads the answers where CloudFormation would.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3

from mini_agent.tenant import Caller
from tests.events import event

ROOT = Path(__file__).parents[2]
STACK = "mini-agent-platform"
SAM = str(Path(sys.executable).parent / "sam")
LOCALSTACK = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
TENANT_A = UUID("11111111-1111-1111-1111-111111111111")
LOGS = ROOT / ".aws-sam" / "e2e-docker.log"
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


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command and return what it printed; stop with that, where it fails."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"SAM_CLI_TELEMETRY": "0"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    with LOGS.open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n{result.stdout}")
    if result.returncode:
        sys.exit(f"{result.stdout}\n{' '.join(command)} failed; the whole log is in {LOGS}")
    return result.stdout


def compose_from_nothing() -> None:
    """Start the services with empty volumes."""
    run("docker", "compose", "down", "-v", "--remove-orphans")
    (ROOT / ".aws-sam" / "layers").mkdir(parents=True, exist_ok=True)
    run("docker", "compose", "up", "-d", "--wait", PWD=str(ROOT))


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
        applied = json.loads(out.strip().splitlines()[-1])["applied"]
        assert applied, out
        notes.append(f"{len(applied)} migrations")
    with step("sam local start-api"):
        api = subprocess.Popen(
            [SAM, "local", "start-api", "--config-env", "local", "--port", "3000", *offline],
            cwd=ROOT,
            env=os.environ | {"SAM_CLI_TELEMETRY": "0"},
            stdout=LOGS.open("a"),
            stderr=subprocess.STDOUT,
        )
        wait_for("http://127.0.0.1:3000/health")
    try:
        with step("README's workflow and tests/e2e against sam local") as notes:
            out = run(
                *(sys.executable, "-m", "pytest", "-q", "tests/e2e"),
                MAP_BASE_URL="http://127.0.0.1:3000",
            )
            notes.append(out.strip().splitlines()[-1])
    finally:
        api.terminate()
        api.wait(30)


def wait_for(url: str, seconds: float = 120) -> None:
    """Wait until an address answers 200."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=30).close()
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"{url} does not answer; see {LOGS}")
            time.sleep(0.5)
        else:
            return


# ── LocalStack ───────────────────────────────────────────────────────────────────────────────────


class Stack:
    """The stack on LocalStack."""

    def __init__(self) -> None:
        session = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        url = LOCALSTACK["AWS_ENDPOINT_URL"]
        self._cloudformation = session.client("cloudformation", endpoint_url=url)
        self._lambda = session.client("lambda", endpoint_url=url)
        self._s3 = session.client("s3", endpoint_url=url)

    def resources(self, kind: str) -> dict[str, str]:
        """Return the physical ids of the stack's resources of a kind, by logical id."""
        pages = self._cloudformation.get_paginator("list_stack_resources")
        found = [r for p in pages.paginate(StackName=STACK) for r in p["StackResourceSummaries"]]
        return {
            r["LogicalResourceId"]: r["PhysicalResourceId"]
            for r in found
            if r["ResourceType"] == kind
        }

    def exists(self) -> bool:
        """Tell whether there is a function left."""
        return bool(self._lambda.list_functions()["Functions"])

    def invoke(self, function: str, payload: dict[str, Any], alias: str = "live") -> Any:
        """Call a function by its logical id and return its answer; stop where it raised."""
        name = self.resources("AWS::Lambda::Function")[function]
        got = self._lambda.invoke(
            FunctionName=name, Qualifier=alias, Payload=json.dumps(payload).encode()
        )
        answer = json.loads(got["Payload"].read())
        assert "FunctionError" not in got, f"{function}: {answer}"
        return answer

    def versions(self) -> dict[str, str]:
        """Return what version each function's alias points to."""
        functions = self.resources("AWS::Lambda::Function")
        return {
            logical: self._lambda.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
            for logical, name in functions.items()
        }

    def migrations(self, kind: str) -> dict[str, Any]:
        """Send the custom resource's event, as CloudFormation does; return the function's answer."""
        self._s3.create_bucket(Bucket="custom-resource-answers")
        where = {"Bucket": "custom-resource-answers", "Key": kind}
        url = self._s3.generate_presigned_url("put_object", Params=where)
        self.invoke(
            "MigrateFunction",
            {
                "RequestType": kind,
                "ResponseURL": url.replace("127.0.0.1", "localstack"),
                "StackId": STACK,
                "RequestId": kind,
                "ResourceType": "Custom::Migrations",
                "LogicalResourceId": "Migrations",
                "ResourceProperties": {"ServiceToken": "none", "Code": kind},
            },
        )
        answer: dict[str, Any] = json.loads(self._s3.get_object(**where)["Body"].read())
        assert answer["Status"] == "SUCCESS", answer
        return answer


def deploy(project: Path) -> None:
    """Build a project and deploy it, and give LocalStack's functions its layers."""
    run(SAM, "build", "--config-env", "localstack", cwd=project)
    layers = ROOT / ".aws-sam" / "layers"
    shutil.rmtree(layers)
    for layer in ("DependenciesLayer", "SharedLayer"):
        shutil.copytree(project / ".aws-sam" / "build" / layer, layers, dirs_exist_ok=True)
    run(SAM, "deploy", "--config-env", "localstack", cwd=project, **LOCALSTACK)


def events() -> dict[str, dict[str, Any]]:
    """Return an API Gateway event for each function but migrate, from tenant A."""
    caller = Caller(TENANT_A, TENANT_A, frozenset(["tools:read", "agents:read", "history:read"]), 9)
    nobody = "00000000-0000-0000-0000-000000000000"
    return {
        "ToolsFunction": event("GET", "/api/v1/tools", caller=caller),
        "AgentsFunction": event("GET", "/api/v1/agents", caller=caller),
        "HistoryFunction": event("GET", "/api/v1/history", caller=caller),
        "RunsFunction": event("GET", f"/api/v1/agents/{nobody}/run", caller=caller),
        "SystemFunction": event("GET", "/ready"),
        "AuthorizerFunction": event("GET", "/api/v1/tools", headers={"X-API-KEY": "tenant-a-key"})
        | {"type": "REQUEST", "methodArn": "arn:aws:execute-api:us-east-1:1:api/live/GET/tools"},
    }


def call_every_function(stack: Stack) -> list[str]:
    """Call each function once; return what each said."""
    wanted = dict.fromkeys(events(), 200) | {"RunsFunction": 405}  # its route takes POST alone
    said = []
    for function, payload in events().items():
        answer = stack.invoke(function, payload)
        if function == "AuthorizerFunction":
            assert answer["context"]["tenant_id"] == str(TENANT_A), answer
            said.append("authorizer knows tenant A")
        else:
            assert answer["statusCode"] == wanted[function], f"{function}: {answer}"
            said.append(f"{function.removesuffix('Function').lower()} {answer['statusCode']}")
    return said


def refused_without_tenant(stack: Stack) -> str:
    """Ask over HTTP without an authorizer, as LocalStack does; return the function's refusal."""
    [api] = stack.resources("AWS::ApiGateway::RestApi").values()
    url = f"{LOCALSTACK['AWS_ENDPOINT_URL']}/_aws/execute-api/{api}/live"
    urllib.request.urlopen(f"{url}/health", timeout=60).close()
    request = urllib.request.Request(f"{url}/api/v1/tools", headers={"X-API-KEY": "tenant-a-key"})
    try:
        urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as refusal:
        body = json.loads(refusal.read())
        assert refusal.code == 401, body
        assert set(body) == {"error_code", "message", "details"}, body
        return f"401 {body['error_code']}"
    sys.exit("LocalStack answered a request without a tenant")


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
    stack = Stack()
    with step("sam build and sam deploy --config-env localstack") as notes:
        deploy(ROOT)
        notes.append(f"{len(stack.resources('AWS::Lambda::Function'))} functions")
    with step("migrations by the custom resource's Create event") as notes:
        notes.append(f"applied {stack.migrations('Create')['Data']['Applied']}")
    with step("every function once, with an API Gateway event") as notes:
        notes += call_every_function(stack)
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
        notes += call_every_function(stack)
    with step("removal: the custom resource's Delete event, sam delete") as notes:
        stack.migrations("Delete")
        run(SAM, "delete", "--config-env", "localstack", "--no-prompts", **LOCALSTACK)
        assert not stack.exists()
        notes.append("no function left")


def main() -> None:
    """Run everything, and print what was run and how long it took."""
    LOGS.parent.mkdir(exist_ok=True)
    LOGS.write_text("")
    start = time.monotonic()
    try:
        with step("docker compose up: Postgres, Valkey, LocalStack"):
            compose_from_nothing()
        sam_local()
        localstack()
    finally:
        with step("docker compose down"):
            run("docker", "compose", "down", "-v", "--remove-orphans")
    total = time.monotonic() - start
    print("\n".join(["", "What ran:", *_summary, f"{total:6.1f} s  in all"]))


if __name__ == "__main__":
    main()
