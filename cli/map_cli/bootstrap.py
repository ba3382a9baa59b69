"""`map admin bootstrap`: the first operator's key, for whoever may invoke the migrate function."""

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from map_cli import output
from map_cli.options import AsJson
from map_cli.problem import AWAY, Problem

MIGRATE = "MigrateFunction"
STACK = "mini-agent-platform"
SECONDS = 60


def make_key(
    name: Annotated[str, typer.Argument(help="What to call the key, such as whose it is")],
    stack_name: Annotated[str, typer.Option(help="The CloudFormation stack, on AWS")] = STACK,
    function: Annotated[
        str | None, typer.Option(help="The migrate function itself, instead of its stack")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Of `make run` on this machine")] = False,
    data: Annotated[Path, typer.Option(help="The folder of that `make run`")] = Path(".data"),
    as_json: AsJson = False,
) -> None:
    """Make an operator's key, which `map admin` needs. On AWS with your own credentials."""
    event = json.dumps({"bootstrap": name}).encode()
    failed, told = _local(event, data) if local else _aws(event, stack_name, function)
    answer: dict[str, Any] = json.loads(told)
    if failed:
        raise Problem(f"The migrate function failed: {answer.get('errorMessage')}")
    output.made(answer, as_json=as_json)


def _local(event: bytes, data: Path) -> tuple[bool, bytes]:
    """Return whether the function of a local run failed, and what it told."""
    away = Problem(f"Nothing runs on {data}: start `make run`, or name its folder by --data", AWAY)
    try:
        url = (data / "lambda-url").read_text()
        answer = httpx.post(
            f"{url}/2015-03-31/functions/{MIGRATE}/invocations", content=event, timeout=SECONDS
        )
    except (OSError, httpx.RequestError) as error:
        raise away from error
    if not answer.is_success:
        raise Problem(f"The migrate function cannot be invoked: {answer.text}")
    return "x-amz-function-error" in answer.headers, answer.content


def _aws(event: bytes, stack_name: str, function: str | None) -> tuple[bool, bytes]:
    """Return whether the function of a deployment failed, and what it told."""
    try:
        import boto3  # noqa: PLC0415 - heavy, and only this needs it
        from botocore.config import Config  # noqa: PLC0415 - comes with it
        from botocore.exceptions import (  # noqa: PLC0415 - comes with it
            BotoCoreError,
            ClientError,
        )
    except ModuleNotFoundError as error:
        told = "This needs boto3: pip install 'mini-agent-platform[aws]'"
        raise Problem(told) from error
    # Tried once: whoever tries again makes a second key.
    once = Config(retries={"total_max_attempts": 1}, read_timeout=SECONDS)
    try:
        if not function:
            found = (
                boto3.Session()
                .client("cloudformation")
                .describe_stack_resource(StackName=stack_name, LogicalResourceId=MIGRATE)
            )
            function = found["StackResourceDetail"]["PhysicalResourceId"]
        answer = (
            boto3.Session()
            .client("lambda", config=once)
            .invoke(FunctionName=function, Payload=event)
        )
        return "FunctionError" in answer, answer["Payload"].read()
    except (BotoCoreError, ClientError) as error:
        raise Problem(f"AWS refuses: {error}") from error
