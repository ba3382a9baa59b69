"""LocalStack instead of AWS: deploy to it, and do by hand what it leaves out.

Its community edition mounts no layers (docker-compose.yml mounts a folder instead, filled here),
runs neither authorizers nor custom resources (`Stack.migrations` sends what CloudFormation would,
and reads the answer where CloudFormation would), and cannot move an alias (removed before a second
deployment, and made after it).

`make localstack-deploy` runs this module.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).parents[2]
STACK = "mini-agent-platform"
ALIAS = "live"
SAM = str(Path(sys.executable).parent / "sam")
URL = "http://127.0.0.1:4566"
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": URL,
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "SAM_CLI_TELEMETRY": "0",
}
LAYERS = ROOT / ".aws-sam" / "layers"
LOG = ROOT / ".aws-sam" / "e2e-docker.log"
LONGEST_SECONDS = 300


def run(*command: str, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; stop with that where it fails or hangs."""
    try:
        result = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | {"SAM_CLI_TELEMETRY": "0"} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        sys.exit(f"{late.output}\n{' '.join(command)} has not ended after {LONGEST_SECONDS} s")
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n{result.stdout}")
    if result.returncode:
        sys.exit(f"{result.stdout}\n{' '.join(command)} failed; the whole log is in {LOG}")
    return str(result.stdout)


class Stack:
    """The stack on LocalStack."""

    def __init__(self) -> None:
        session = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        self._cloudformation = session.client("cloudformation", endpoint_url=URL)
        self._lambda = session.client("lambda", endpoint_url=URL)
        self._s3 = session.client("s3", endpoint_url=URL)

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
        """Tell whether there is a function of the stack."""
        names = [f["FunctionName"] for f in self._lambda.list_functions()["Functions"]]
        return any(name.startswith(f"{STACK}-") for name in names)

    def remove(self) -> None:
        """Delete the stack; `sam delete` cannot read the nested stacks' addresses on LocalStack."""
        self._cloudformation.delete_stack(StackName=STACK)
        self._cloudformation.get_waiter("stack_delete_complete").wait(StackName=STACK)

    def address(self) -> str:
        """Return where the API answers."""
        [api] = self.resources("AWS::ApiGateway::RestApi").values()
        return f"{URL}/_aws/execute-api/{api}/live"

    def forget_aliases(self) -> None:
        """Remove the functions' aliases: a deployment would fail over them."""
        for name in self.resources("AWS::Lambda::Function").values():
            self._lambda.delete_alias(FunctionName=name, Name=ALIAS)

    def set_aliases(self) -> None:
        """Make the aliases that a deployment has not made, to each function's newest version."""
        for name in self.resources("AWS::Lambda::Function").values():
            if self._lambda.list_aliases(FunctionName=name)["Aliases"]:
                continue
            versions = self._lambda.list_versions_by_function(FunctionName=name)["Versions"]
            newest = max(int(v["Version"]) for v in versions if v["Version"] != "$LATEST")
            self._lambda.create_alias(FunctionName=name, Name=ALIAS, FunctionVersion=str(newest))

    def invoke(self, function: str, payload: dict[str, Any]) -> Any:
        """Call a function by its logical id and return its answer; stop where it raised."""
        name = self.resources("AWS::Lambda::Function")[function]
        got = self._lambda.invoke(
            FunctionName=name, Qualifier=ALIAS, Payload=json.dumps(payload).encode()
        )
        answer = json.loads(got["Payload"].read())
        assert "FunctionError" not in got, f"{function}: {answer}"
        return answer

    def versions(self) -> dict[str, str]:
        """Return what version each function's alias points to."""
        functions = self.resources("AWS::Lambda::Function")
        return {
            logical: self._lambda.get_alias(FunctionName=name, Name=ALIAS)["FunctionVersion"]
            for logical, name in functions.items()
        }

    def migrations(self, kind: str) -> dict[str, Any]:
        """Send the custom resource's event, as CloudFormation does; return the answer."""
        bucket, key = "custom-resource-answers", kind
        self._s3.create_bucket(Bucket=bucket)
        url = self._s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": key})
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
        answer: dict[str, Any] = json.loads(
            self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        )
        assert answer["Status"] == "SUCCESS", answer
        return answer


def deploy(project: Path = ROOT) -> Stack:
    """Build a project and deploy it, and give LocalStack's functions its layers."""
    run(SAM, "build", "--config-env", "localstack", cwd=project)
    # Emptied, not replaced: sandboxes that run have this very folder mounted.
    LAYERS.mkdir(parents=True, exist_ok=True)
    for old in LAYERS.iterdir():
        shutil.rmtree(old)
    for layer in ("DependenciesLayer", "SharedLayer"):
        shutil.copytree(project / ".aws-sam" / "docker" / layer, LAYERS, dirs_exist_ok=True)
    stack = Stack()
    if stack.exists():
        stack.forget_aliases()
    run(SAM, "deploy", "--config-env", "localstack", cwd=project, environment=ENVIRONMENT)
    stack.set_aliases()
    return stack


if __name__ == "__main__":
    deployed = deploy()
    deployed.migrations("Create")
    print(f"LocalStack has the stack; health: curl {deployed.address()}/health")
