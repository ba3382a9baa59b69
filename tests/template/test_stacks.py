"""The root, the nested stacks, the alarms and the settings fit together."""

import json
import re
import tomllib

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped] # has no types

from tests.template.templates import (
    APPLICATIONS,
    ROOT,
    SOURCE,
    STACKS,
    nested,
    outputs_used,
)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_nested_stack_gets_its_parameters_and_no_others(name: str) -> None:
    properties = APPLICATIONS[name]["Properties"]
    wanted = STACKS[properties["Location"].removeprefix("stacks/")]["Parameters"]
    given = set(properties["Parameters"])
    required = {parameter for parameter, about in wanted.items() if "Default" not in about}
    assert required <= given <= set(wanted)


def test_every_output_that_the_root_uses_exists() -> None:
    used = set(outputs_used())
    assert len(used) > 10
    for stack, output in used:
        file = APPLICATIONS[stack]["Properties"]["Location"].removeprefix("stacks/")
        assert output in STACKS[file]["Outputs"], f"{stack}.{output}"


def test_the_nested_stacks_are_left_out_where_a_database_is_given() -> None:
    for name, application in APPLICATIONS.items():
        assert application["Condition"] == ("HasEdge" if name == "Edge" else "Cloud")


def test_samconfig_names_only_parameters_that_exist() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert {"default", "local", "localstack", "dev", "prod"} <= set(config)
    for environment in config:
        if environment == "version":
            continue
        for command, section in config[environment].items():
            for override in section["parameters"].get("parameter_overrides", []):
                name = override.partition("=")[0]
                assert name in SOURCE["Parameters"], f"{environment}.{command}: {name}"


def test_every_alarm_tells_what_to_do_and_where_to_read_on() -> None:
    handbook = (ROOT / "docs" / "operations.md").read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", handbook, re.MULTILINE)
    }
    alarms = 0
    for file, name, resource in nested():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        alarms += 1
        description = resource["Properties"]["AlarmDescription"]
        if isinstance(description, dict):
            description = STACKS[file]["Mappings"]["Alarm"]["Errors"]["Description"]
        anchor = re.search(r"docs/operations\.md#([\w-]+)", description)
        assert anchor, f"{name} names no section of docs/operations.md"
        assert anchor[1] in anchors, f"{name}: {anchor[1]}"
        assert resource["Properties"]["AlarmActions"], name
    assert alarms >= 22


def test_the_dashboard_is_json() -> None:
    body = STACKS["observability.yaml"]["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    widgets = json.loads(re.sub(r"\$\{[\w:]+\}", "x", body["Fn::Sub"]))["widgets"]
    titles = " ".join(widget["properties"]["title"] for widget in widgets)
    for subject in ("p50", "p95", "p99", "Authorizer", "limiter", "Proxy", "ACU", "Cache"):
        assert subject in titles


def test_compose_publishes_ports_on_this_machine_alone() -> None:
    services = yaml_parse((ROOT / "docker-compose.yml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)
