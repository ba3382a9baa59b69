"""`map admin bootstrap`: an operator's key, for anyone who may invoke the migrate function."""

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from map_cli import output
from map_cli.errors import UNAVAILABLE, CommandError
from map_cli.options import AsJson

MIGRATE = "MigrateFunction"
STACK = "mini-agent-platform"
SECONDS = 60


def make_key(
    name: Annotated[str, typer.Argument(help="Name of the key, such as its owner")],
    stack_name: Annotated[str, typer.Option(help="The CloudFormation stack, on AWS")] = STACK,
    function: Annotated[
        str | None, typer.Option(help="Name of the migrate function, instead of its stack")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Use `make run` on this machine")] = False,
    data: Annotated[Path, typer.Option(help="Data folder of that `make run`")] = Path(".data"),
    as_json: AsJson = False,
) -> None:
    """Create an operator's key, which `map admin` needs. On AWS it uses your AWS credentials."""
    event = json.dumps({"bootstrap": name}).encode()
    has_failed, payload = _local(event, data) if local else _aws(event, stack_name, function)
    result: dict[str, Any] = json.loads(payload)
    if has_failed:
        raise CommandError(f"The migrate function failed: {result.get('errorMessage')}")
    output.write_new_key(result, as_json=as_json)


def _local(event: bytes, data: Path) -> tuple[bool, bytes]:
    """Invoke the function of a local run; return whether it failed, and its payload."""
    unavailable = CommandError(
        f"No `make run` uses {data}: start it, or name its folder with --data", UNAVAILABLE
    )
    try:
        url = (data / "lambda-url").read_text()
        response = httpx.post(
            f"{url}/2015-03-31/functions/{MIGRATE}/invocations", content=event, timeout=SECONDS
        )
    except (OSError, httpx.RequestError) as error:
        raise unavailable from error
    if not response.is_success:
        raise CommandError(f"The migrate function cannot be invoked: {response.text}")
    return "x-amz-function-error" in response.headers, response.content


def _aws(event: bytes, stack_name: str, function: str | None) -> tuple[bool, bytes]:
    """Invoke the function of a deployment; return whether it failed, and its payload."""
    try:
        import boto3  # noqa: PLC0415 - slow to import, and only needed here
        from botocore.config import Config  # noqa: PLC0415 - comes with it
        from botocore.exceptions import (  # noqa: PLC0415 - comes with it
            BotoCoreError,
            ClientError,
        )
    except ModuleNotFoundError as error:
        message = "boto3 is missing: pip install 'mini-agent-platform[aws]'"
        raise CommandError(message) from error
    # No automatic retry: a second attempt could create a second key.
    once = Config(retries={"total_max_attempts": 1}, read_timeout=SECONDS)
    try:
        if not function:
            found = (
                boto3.Session()
                .client("cloudformation")
                .describe_stack_resource(StackName=stack_name, LogicalResourceId=MIGRATE)
            )
            function = found["StackResourceDetail"]["PhysicalResourceId"]
        response = (
            boto3.Session()
            .client("lambda", config=once)
            .invoke(FunctionName=function, Payload=event)
        )
        return "FunctionError" in response, response["Payload"].read()
    except (BotoCoreError, ClientError) as error:
        raise CommandError(f"AWS refused the call: {error}") from error
