"""The template as CloudFormation gets it, and its nested stacks."""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from boto3 import Session
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped] # has no types
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped] # same
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped] # same

ROOT = Path(__file__).parents[2]
SOURCE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
STACKS: dict[str, dict[str, Any]] = {
    path.name: yaml_parse(path.read_text()) for path in sorted((ROOT / "stacks").glob("*.yaml"))
}
FILES = [ROOT / "template.yaml", *sorted((ROOT / "stacks").glob("*.yaml"))]
CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}
Resources = dict[str, dict[str, Any]]


def transformed(
    parameters: Mapping[str, str] | None = None, content: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the template after SAM's transform; `content` says what a layer or function holds."""
    source = copy.deepcopy(SOURCE)
    for name, resource in source["Resources"].items():
        if where := CODE.get(resource["Type"]):
            resource["Properties"][where] = f"s3://bucket/{(content or {}).get(name, name)}"
        if resource["Type"] == "AWS::Serverless::Application":
            resource["Properties"]["Location"] = "https://bucket.example/stack"
    translator = Translator({}, Parser(), boto_session=Session(region_name="us-east-1"))
    result: dict[str, Any] = translator.translate(source, dict(parameters or {}))
    return result


def of_type(resources: Resources, kind: str) -> Resources:
    """Return the resources of a type."""
    return {name: r for name, r in resources.items() if r["Type"] == kind}


def nested() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield file, logical id and resource of everything in the nested stacks."""
    for file, stack in STACKS.items():
        for name, resource in stack["Resources"].items():
            yield file, name, resource


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def outputs_used() -> Iterator[tuple[str, str]]:
    """Yield stack and output of every `Stack.Outputs.Name` in the root."""
    yield from re.findall(r"(\w+)\.Outputs\.(\w+)", (ROOT / "template.yaml").read_text())
    for text in texts(SOURCE):
        yield from re.findall(r"^(\w+)\.Outputs\.(\w+)$", text)


RESOURCES: Resources = transformed()["Resources"]
FUNCTIONS = of_type(RESOURCES, "AWS::Lambda::Function")
[API] = of_type(RESOURCES, "AWS::ApiGateway::RestApi").values()
APPLICATIONS = of_type(SOURCE["Resources"], "AWS::Serverless::Application")
