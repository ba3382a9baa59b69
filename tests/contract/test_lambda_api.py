"""What functions find at the local gateway: Lambda's API, durable executions, schedules."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local import REGION, backends, template
from local.gateway import Gateway
from local.lambda_api import LambdaApi
from local.server import Server, listen
from tests.contract.gateway_api import Clock
from tests.waiting import Hold, until

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: {Runtime: python3.13, CodeUri: code/, MemorySize: 256, Timeout: 5, AutoPublishAlias: live}
Resources:
  Obey: {Type: AWS::Serverless::Function, Properties: {Handler: tests.contract.handlers.obey, Timeout: 1}}
  Echo:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub ${AWS::StackName}-echo
      Handler: tests.contract.handlers.echo
      Environment: {Variables: {ASK: !Ref Ask.Alias}}
  CrashOnce: {Type: AWS::Serverless::Function, Properties: {Handler: tests.contract.durable_handlers.crash_once, DurableConfig: {ExecutionTimeout: 60}}}
  Count: {Type: AWS::Serverless::Function, Properties: {Handler: tests.contract.durable_handlers.count, DurableConfig: {ExecutionTimeout: 60}}}
  Ask: {Type: AWS::Serverless::Function, Properties: {Handler: tests.contract.durable_handlers.ask, DurableConfig: {ExecutionTimeout: 60}}}
  Timed:
    Type: AWS::Serverless::Function
    Properties:
      Handler: tests.contract.handlers.mark
      Events:
        Old: {Type: Schedule, Properties: {Schedule: rate(1 minute), Input: '{"by": "rule"}'}}
        New: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(2 hours), Input: '{"by": "scheduler"}'}}
        Resting: {Type: Schedule, Properties: {Schedule: rate(1 minute), Enabled: false}}
"""  # noqa: E501 - a function a line


class Functions:
    """Lambda's API on a free port, in a thread of this process, and what keeps executions."""

    def __init__(self, folder: Path) -> None:
        (folder / "template.yaml").write_text(TEMPLATE)
        self.folder = folder
        self.listener = listen(0)
        self.url = "http://{}:{}".format(*self.listener.getsockname())
        self.runner = backends.durable(folder / "durable.db", self.url)
        self.gateway = Gateway(template.load(folder / "template.yaml", {}), 4, folder, self.url)
        self.server = Server(LambdaApi(self.gateway, self.runner.socket))
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.thread.start()
        self.client = boto3.client(
            "lambda",
            REGION,
            endpoint_url=self.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}),
        )

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self.server.serve([self.listener])
        self.gateway.close()

    def invoke(self, name: str, event: object, **how: Any) -> Any:
        return self.client.invoke(FunctionName=name, Payload=json.dumps(event), **how)

    def obey(self, **asked: str) -> Any:
        return self.invoke("Obey", {"queryStringParameters": asked})

    def start(self, function: str, name: str, event: object) -> str:
        """Start a durable execution and return its ARN."""
        answer = self.invoke(
            f"{function}:live", event, InvocationType="Event", DurableExecutionName=name
        )
        assert answer["StatusCode"] == 202
        return str(answer["DurableExecutionArn"])

    def end(self, arn: str) -> Any:
        """Return a durable execution when it has ended."""

        def ended() -> Any:
            execution = self.client.get_durable_execution(DurableExecutionArn=arn)
            return execution if execution["Status"] != "RUNNING" else None

        return until(ended)

    def close(self) -> None:
        self.client.close()
        self.runner.stop()
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Functions]:
    functions = Functions(tmp_path_factory.mktemp("functions"))
    with contextlib.closing(functions), functions.runner:
        yield functions


# ── Invoke ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "name", ["Obey", "Obey:live", "arn:aws:lambda:us-east-1:000000000000:function:Obey:live"]
)
def test_a_function_called_by_name_or_arn_answers(functions: Functions, name: str) -> None:
    answer = functions.invoke(name, {"queryStringParameters": {"answer": '{"a": "ü"}'}})
    assert (answer["StatusCode"], json.load(answer["Payload"])) == (200, {"a": "ü"})
    assert "FunctionError" not in answer


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"raise": "the reason"}, "the reason"),
        ({"exit": "1"}, "its process died"),
        ({"hold": "{folder}"}, "timed out after 1 s"),
    ],
)
def test_a_function_that_fails_is_an_answer_with_a_function_error(
    functions: Functions, tmp_path: Path, asked: dict[str, str], message: str
) -> None:
    asked = {name: value.format(folder=tmp_path) for name, value in asked.items()}
    answer = functions.obey(**asked)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.load(answer["Payload"])["errorMessage"] == message


def test_an_event_is_taken_at_once_and_worked_on_after(
    functions: Functions, tmp_path: Path
) -> None:
    hold, mark = Hold(tmp_path), tmp_path / "mark"
    event = {"folder": str(tmp_path), "hold": True}
    answer = functions.invoke("Timed", event, InvocationType="Event")
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert not mark.exists()
    hold.release()
    until(mark.exists)


def test_what_is_not_in_the_template_is_no_function(functions: Functions) -> None:
    with pytest.raises(functions.client.exceptions.ResourceNotFoundException):
        functions.invoke("Other", {})


@pytest.mark.parametrize("header", [{"Origin": "https://example.org"}, {"Host": "example.org"}])
def test_a_page_in_a_browser_calls_nothing(functions: Functions, header: dict[str, str]) -> None:
    call = "/2015-03-31/functions/Obey/invocations"
    event = {"queryStringParameters": {"answer": "1"}}
    assert httpx.post(functions.url + call, json=event).status_code == 200
    assert httpx.post(functions.url + call, json=event, headers=header).status_code == 403


def test_a_function_finds_this_api_and_its_worker(functions: Functions) -> None:
    told = json.loads(json.load(functions.invoke("map-echo", {})["Payload"])["body"])
    assert told["environment"]["AWS_ENDPOINT_URL_LAMBDA"] == functions.url
    assert told["environment"]["ASK"].endswith(":function:Ask:live")


# ── Durable functions ───────────────────────────────────────────────────────────────────────────
def test_a_durable_function_that_crashes_goes_on_after_its_last_step(
    functions: Functions, tmp_path: Path
) -> None:
    arn = functions.start("CrashOnce", "crash", {"folder": str(tmp_path)})
    execution = functions.end(arn)
    assert (execution["Status"], execution["Result"]) == ("SUCCEEDED", '"done"')
    assert (tmp_path / "step").read_text() == "x"
    assert (tmp_path / "try").read_text() == "xx"


def test_starts_of_one_name_at_once_are_one_execution(functions: Functions, tmp_path: Path) -> None:
    event = {"folder": str(tmp_path)}
    with ThreadPoolExecutor(3) as pool:
        arns = set(pool.map(lambda _: functions.start("Count", "once", event), range(3)))
    [arn] = arns
    functions.end(arn)
    assert functions.start("Count", "once", event) == arn  # it has ended, and is still known
    assert (tmp_path / "start").read_text() == "x"
    with pytest.raises(functions.client.exceptions.ClientError) as refused:
        functions.start("Count", "once", {"folder": str(tmp_path), "other": 1})
    assert refused.value.response["Error"]["Code"] == "DurableExecutionAlreadyStartedException"


def test_a_durable_function_is_called_by_its_alias_and_not_waited_for(
    functions: Functions,
) -> None:
    for name, kind in [("Count", "Event"), ("Count:live", "RequestResponse")]:
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            functions.invoke(name, {}, InvocationType=kind)


def test_a_callback_reaches_an_execution_through_a_restart_of_the_runner(
    functions: Functions, tmp_path: Path
) -> None:
    arn = functions.start("Ask", "answered", {"folder": str(tmp_path)})
    until((tmp_path / "callback").exists)
    functions.runner.kill()
    functions.runner.start()
    callback = (tmp_path / "callback").read_text()
    functions.client.send_durable_execution_callback_success(CallbackId=callback, Result=b'"yes"')
    execution = functions.end(arn)
    assert execution["Status"] == "SUCCEEDED"
    assert "yes" in execution["Result"]


def test_time_limits_hold_through_a_restart_of_the_runner(
    functions: Functions, tmp_path: Path
) -> None:
    arn = functions.start("Ask", "expired", {"folder": str(tmp_path), "seconds": 2})
    until((tmp_path / "callback").exists)
    functions.runner.kill()
    functions.runner.start()
    execution = functions.end(arn)
    assert execution["Status"] == "FAILED"
    assert "timed out" in execution["Error"]["ErrorMessage"].lower()


def test_without_the_runner_a_start_is_refused(functions: Functions, tmp_path: Path) -> None:
    functions.runner.kill()
    try:
        with pytest.raises(functions.client.exceptions.ServiceException):
            functions.start("Count", "nobody", {"folder": str(tmp_path)})
    finally:
        functions.runner.start()
    assert not list(tmp_path.iterdir())


# ── Schedules ───────────────────────────────────────────────────────────────────────────────────
def test_a_schedule_of_the_template_calls_its_function(
    functions: Functions, tmp_path: Path, clock: Clock
) -> None:
    loaded = functions.gateway.template
    assert {(s.function, s.seconds, s.event) for s in loaded.schedules} == {
        ("Timed", 60, '{"by": "rule"}'),
        ("Timed", 7200, '{"by": "scheduler"}'),
    }
    event = json.dumps({"folder": str(tmp_path)})
    marking = tuple(replace(s, event=event) for s in loaded.schedules if s.seconds == 60)
    functions.gateway.template = replace(loaded, schedules=marking)
    task = asyncio.run_coroutine_threadsafe(functions.gateway.run_schedules(), functions.loop)
    try:
        until(clock.was_read)  # its minute starts here
        for seconds, marks in ((59, ""), (1, "x"), (60, "xx")):
            clock.advance(seconds)
            until(clock.was_read)
            until(partial(has_marks, tmp_path, marks))
    finally:
        task.cancel()
        functions.gateway.template = loaded


def has_marks(folder: Path, marks: str) -> bool:
    mark = folder / "mark"
    return (mark.read_text() if mark.exists() else "") == marks


def test_a_schedule_that_is_no_rate_is_told(tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(TEMPLATE.replace("rate(1 minute)", "cron(0 12)"))
    with pytest.raises(template.TemplateError, match="only rates"):
        template.load(file, {})
