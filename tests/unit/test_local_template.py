"""The local run reads a template as CloudFormation would."""

from pathlib import Path
from typing import Any

import pytest

from local import template

FUNCTION = """
  {name}:
    Type: AWS::Serverless::Function
    Properties:
      Handler: a.handler
      Runtime: python3.13
      CodeUri: code/
"""
START = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Given: {Type: String}
  Default: {Type: String, Default: by default}
  Stack: {Type: String, Default: local}
Conditions:
  Local: !Equals [!Ref Stack, local]
  Remote: !Not [!Condition Local]
  Both: !And [!Condition Local, !Condition Remote]
  Either: !Or [!Condition Local, !Condition Remote]
Resources:
  Data: {Type: AWS::Serverless::Application, Properties: {Location: data.yaml}}
"""


def load(tmp_path: Path, resources: str, **parameters: str) -> template.Template:
    path = tmp_path / "template.yaml"
    path.write_text(START + resources)
    return template.load(path, {"Given": "given"} | parameters)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("!Ref Given", "given"),
        ("!Ref Default", "by default"),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref Data", "Data"),
        ("!Sub 'a ${Given} ${!Given} ${AWS::StackName}'", "a given ${Given} map"),
        ("!Sub ['${x}-${Given}', {x: !Ref Default}]", "by default-given"),
        ("!Sub '${F.Arn}'", "arn:aws:lambda:us-east-1:000000000000:function:F"),
        ("!GetAtt Data.Outputs.Host", "Data.Outputs.Host"),
        ("!Join ['/', [a, !Ref Given]]", "a/given"),
        ("!Select [1, !Split [',', 'a,b']]", "b"),
        ("!If [Local, yes-it-is, !GetAtt Data.Outputs.Host]", "yes-it-is"),
        ("!If [Remote, a, !If [Either, b, c]]", "b"),
        ("!If [Both, a, b]", "b"),
        ("!ImportValue x", "Fn::ImportValue"),
        ("!If [Remote, a, !Ref AWS::NoValue]", None),
        ("7", "7"),
    ],
)
def test_intrinsic_functions_get_their_values(
    tmp_path: Path, expression: str, value: str | None
) -> None:
    environment = f"      Environment: {{Variables: {{X: {expression}}}}}\n"
    loaded = load(tmp_path, FUNCTION.format(name="F") + environment)
    assert loaded.functions["F"].environment == ({} if value is None else {"X": value})


def test_a_given_parameter_decides_conditions(tmp_path: Path) -> None:
    function = FUNCTION.format(name="F") + "    Condition: Local\n"
    assert load(tmp_path, function).functions.keys() == {"F"}
    assert not load(tmp_path, function, Stack="aws").functions


def test_a_function_called_by_its_alias_is_found(tmp_path: Path) -> None:
    events = """
      AutoPublishAlias: live
      Events: {A: {Type: Api, Properties: {Path: /a, Method: GET}}}
"""
    loaded = load(tmp_path, FUNCTION.format(name="F") + events)
    assert loaded.methods["/a"]["GET"].function == "F"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("      Events: {A: {Type: Api, Properties: {Path: /a}}}", "Method"),
        ("      Events: {A: [", "expected"),
        ("      DeploymentPreference: {Type: Canary10Percent5Minutes}", "AutoPublishAlias"),
    ],
)
def test_what_the_transform_refuses_is_told_in_one_line(
    tmp_path: Path, broken: str, reason: str
) -> None:
    with pytest.raises(template.TemplateError, match=rf"^template\.yaml.*{reason}.*$"):
        load(tmp_path, FUNCTION.format(name="F") + broken)


def test_an_authorizer_that_does_not_run_here_is_refused(tmp_path: Path) -> None:
    api = """
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: live
      Auth: {DefaultAuthorizer: A, Authorizers: {A: {FunctionArn: !GetAtt F.Arn}}}
"""
    events = (
        "      Events: {A: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /a, Method: GET}}}"
    )
    with pytest.raises(template.TemplateError, match="token authorizer"):
        load(tmp_path, api + FUNCTION.format(name="F") + events)


def test_limits_of_functions_and_stage_are_read(tmp_path: Path) -> None:
    api = """
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: one
      MethodSettings:
        - {ResourcePath: /*, HttpMethod: "*", ThrottlingRateLimit: 5.5, ThrottlingBurstLimit: 3}
"""
    rest = """
      Timeout: 9
      MemorySize: 300
      ReservedConcurrentExecutions: 2
      Events:
        A:
          Type: Api
          Properties: {RestApiId: !Ref Api, Path: /a, Method: GET, TimeoutInMillis: 1500}
"""
    loaded = load(tmp_path, api + FUNCTION.format(name="F") + rest)
    function: Any = loaded.functions["F"]
    assert (function.timeout, function.memory, function.concurrency) == (9, 300, 2)
    assert (loaded.stage, loaded.rate, loaded.burst) == ("one", 5.5, 3)
    assert loaded.methods["/a"]["GET"].timeout == 1.5


def test_defaults_are_lambda_s_own(tmp_path: Path) -> None:
    function = load(tmp_path, FUNCTION.format(name="F")).functions["F"]
    assert (function.timeout, function.memory, function.concurrency) == (3, 128, None)
