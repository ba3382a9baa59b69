"""`map admin bootstrap`, on a laptop and as on AWS."""

import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.cli.conftest import Map, Platform

STACK = """
Resources:
  MigrateFunction: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: MigrateFunction}}
"""


@pytest.fixture(scope="module")
def on_aws(platform: Platform) -> Iterator[str]:
    """Credentials and addresses of a Lambda, and of a CloudFormation that knows a stack."""
    moto = ThreadedMotoServer("127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as env:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ENDPOINT_URL_LAMBDA": (platform.stack.data / "lambda-url").read_text(),
        }.items():
            env.setenv(name, value)
        boto3.Session().client("cloudformation").create_stack(StackName="mine", TemplateBody=STACK)
        yield "mine"
    moto.stop()


def is_operator(key: str, platform: Platform, somebody: Map) -> bool:
    somebody.url, somebody.key = platform.stack.url, key
    return bool(somebody.json("admin", "tenants", "list")["items"])


def test_on_aws_the_function_is_found_by_its_stack(
    on_aws: str, platform: Platform, nobody: Map
) -> None:
    made = nobody.json("admin", "bootstrap", "me", "--stack-name", on_aws)
    assert is_operator(made["key"], platform, nobody)
    made = nobody.json("admin", "bootstrap", "me", "--function", "MigrateFunction")
    assert is_operator(made["key"], platform, nobody)


@pytest.mark.usefixtures("on_aws")
@pytest.mark.parametrize("option", ["--stack-name", "--function"])
def test_what_aws_refuses_is_told(nobody: Map, option: str) -> None:
    assert "AWS refused" in nobody("admin", "bootstrap", "me", option, "no-such", code=1).stderr


def test_without_boto3_it_says_what_to_install(
    nobody: Map, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    told = nobody("admin", "bootstrap", "me", code=1)
    assert "pip install 'mini-agent-platform[aws]'" in told.stderr


def test_where_nothing_runs_it_says_what_to_start(nobody: Map, tmp_path: Path) -> None:
    for text in ("", "http://127.0.0.1:9"):
        told = nobody("admin", "bootstrap", "me", "--local", "--data", str(tmp_path), code=4)
        assert "`make run` uses" in told.stderr
        (tmp_path / "lambda-url").write_text(text or "http://127.0.0.1:9")


def test_a_function_that_fails_is_told(platform: Platform, nobody: Map) -> None:
    data = str(platform.stack.data)
    told = nobody("admin", "bootstrap", "\0", "--local", "--data", data, code=1)
    assert "The migrate function failed" in told.stderr


def test_the_address_of_a_local_run_is_for_its_owner_alone(platform: Platform) -> None:
    assert (platform.stack.data / "lambda-url").stat().st_mode & 0o077 == 0
