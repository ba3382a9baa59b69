"""What a deployment makes: the root after SAM's transform, and the nested stacks."""

import json
import re
import tomllib
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped] # has no types

from tests.template.templates import (
    FILES,
    ROOT,
    SOURCE,
    STACKS,
    nested,
    of_type,
    outputs_used,
    texts,
    transformed,
)

RESOURCES = transformed()["Resources"]
FUNCTIONS = of_type(RESOURCES, "AWS::Lambda::Function")
[API] = of_type(RESOURCES, "AWS::ApiGateway::RestApi").values()
APPLICATIONS = of_type(SOURCE["Resources"], "AWS::Serverless::Application")
MANAGED = {
    "AWSLambdaBasicExecutionRole": "writes the function's log",
    "AWSLambdaBasicDurableExecutionRolePolicy": "the same, and a durable function's own state",
    "AWSLambdaVPCAccessExecutionRole": "EC2 knows no narrower permission for network interfaces",
    "AWSXRayDaemonWriteAccess": "X-Ray knows no resources to name",
    "AWSXrayWriteOnlyAccess": "X-Ray knows no resources to name",
    "AWSCodeDeployRoleForLambda": "CodeDeploy's own, for this one service",
    "AmazonRDSEnhancedMonitoringRole": "RDS's own, into its own log group",
    "AmazonAPIGatewayPushToCloudWatchLogs": "API Gateway's own, for its logs",
}


# ── Functions ────────────────────────────────────────────────────────────────────────────────────


def test_every_function_has_a_role_of_its_own() -> None:
    roles = [json.dumps(f["Properties"]["Role"]) for f in FUNCTIONS.values()]
    assert len(roles) == 15
    assert len(set(roles)) == len(roles)


def test_every_function_is_traced_and_its_log_ends() -> None:
    for name, function in FUNCTIONS.items():
        properties = function["Properties"]
        assert properties["TracingConfig"] == {"Mode": "Active"}, name
        log = RESOURCES[properties["LoggingConfig"]["LogGroup"]["Ref"]]
        assert log["Properties"]["RetentionInDays"] == {"Ref": "LogDays"}, name


def test_every_function_has_an_alarm() -> None:
    watched = APPLICATIONS["FunctionAlarms"]["Properties"]["Parameters"]
    alarms = of_type(STACKS["functions.yaml"]["Resources"], "AWS::CloudWatch::Alarm")
    names = {
        name: alarm["Properties"]["Dimensions"][0]["Value"]["Ref"] for name, alarm in alarms.items()
    }
    for function in FUNCTIONS:
        room = function.removesuffix("Function")
        assert watched[room] == {"Ref": function}
        assert names[f"{room}Errors"] == room


def test_no_new_code_takes_traffic_before_the_migrations() -> None:
    for name, function in FUNCTIONS.items():
        if name != "MigrateFunction":
            assert "Migrations" in function.get("DependsOn", []), name


def test_new_sql_runs_the_migrations_and_makes_new_versions_of_all_functions() -> None:
    newer = transformed(content={"SharedLayer": "with new sql"})["Resources"]
    code = [r["Migrations"]["Properties"]["Code"] for r in (RESOURCES, newer)]
    assert code[0] != code[1]
    versions = [set(of_type(r, "AWS::Lambda::Version")) for r in (RESOURCES, newer)]
    assert len(versions[0]) == len(FUNCTIONS)
    assert not versions[0] & versions[1]


def test_old_versions_go_unless_a_run_may_still_need_them() -> None:
    for version in of_type(RESOURCES, "AWS::Lambda::Version").values():
        durable = version["Properties"]["FunctionName"] == {"Ref": "WorkerFunction"}
        assert version["DeletionPolicy"] == ("Retain" if durable else "Delete")


def test_a_run_in_the_background_outlasts_a_deployment_and_its_longest_approval() -> None:
    worker = FUNCTIONS["WorkerFunction"]["Properties"]
    longest_approval = 7 * 24 * 3600
    assert worker["DurableConfig"]["ExecutionTimeout"] > longest_approval
    assert worker["SnapStart"] == {"ApplyOn": "None"}
    assert not [g for g in of_type(RESOURCES, "AWS::CodeDeploy::DeploymentGroup") if "Worker" in g]
    durable = [name for name, f in FUNCTIONS.items() if "DurableConfig" in f["Properties"]]
    assert durable == ["WorkerFunction"]


def test_runs_may_start_the_worker_and_executions_may_wake_it_and_nobody_else_may() -> None:
    may = {}
    for name, function in FUNCTIONS.items():
        role = RESOURCES[function["Properties"]["Role"]["Fn::GetAtt"][0]]
        for policy in role["Properties"].get("Policies", []):
            # Where there is no worker, there is nothing to be allowed.
            for statement in policy.get("Fn::If", ["", policy])[1]["PolicyDocument"]["Statement"]:
                may[name, statement["Action"]] = statement["Resource"]
    assert may == {
        ("RunsFunction", "lambda:InvokeFunction"): {"Ref": "WorkerFunctionAliaslive"},
        ("ExecutionsFunction", "lambda:SendDurableExecutionCallbackSuccess"): {
            "Fn::Sub": "${WorkerFunction.Arn}:*"
        },
    }
    variables = FUNCTIONS["RunsFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["MAP_WORKER_FUNCTION"] == {
        "Fn::If": ["WorksOn", {"Ref": "WorkerFunctionAliaslive"}, ""]
    }


def test_a_deployment_goes_back_when_an_alarm_fires() -> None:
    groups = of_type(RESOURCES, "AWS::CodeDeploy::DeploymentGroup")
    assert len(groups) == 13  # every function but migrate and the worker
    for group in groups.values():
        assert "ServerErrors" in json.dumps(group["Properties"]["AlarmConfiguration"])


# ── Permissions ──────────────────────────────────────────────────────────────────────────────────


def test_each_function_may_reach_only_what_it_is_for() -> None:
    for name, function in FUNCTIONS.items():
        role = RESOURCES[function["Properties"]["Role"]["Fn::GetAtt"][0]]
        granted = set(re.findall(r"Outputs\.(\w+Access)", json.dumps(role)))
        kinds = {
            "MigrateFunction": {"MigratorAccess"},
            "AuthorizerFunction": {"AuthorizerAccess"},
            "SweepFunction": {"SweeperAccess"},
            "RunsFunction": {"ApiAccess", "ModelsAccess", "BedrockAccess"},
            "WorkerFunction": {"ApiAccess", "ModelsAccess", "BedrockAccess"},
            "SecretsFunction": {"ApiAccess", "SealAccess"},
            "KeysFunction": {"ApiAccess", "PeppersAccess"},
            "AdminFunction": {"OperatorAccess", "PeppersAccess"},
        }
        assert granted == kinds.get(name, {"ApiAccess"}), name


def test_each_database_user_is_for_one_kind_of_function() -> None:
    policies = of_type(STACKS["data.yaml"]["Resources"], "AWS::IAM::ManagedPolicy")
    users = {
        name: set(re.findall(r"\$\{ProxyId\}/(\w+)", json.dumps(policy)))
        for name, policy in policies.items()
    }
    assert users == {
        "ApiAccess": {"map_api"},
        "AuthorizerAccess": {"map_authorizer"},
        "MigratorAccess": {"map_migrator", "map_admin"},
        "SweeperAccess": {"map_sweeper"},
        "OperatorAccess": {"map_operator"},
        "PeppersAccess": set(),
        "SealAccess": set(),
        "ModelsAccess": set(),
        "BedrockAccess": set(),
    }


def test_only_who_checks_or_makes_keys_reads_the_peppers() -> None:
    policies = of_type(STACKS["data.yaml"]["Resources"], "AWS::IAM::ManagedPolicy")
    readers = {name for name, policy in policies.items() if "'Ref': 'Peppers'" in str(policy)}
    assert readers == {"AuthorizerAccess", "MigratorAccess", "PeppersAccess"}


def test_the_operators_database_user_is_one_functions_alone() -> None:
    users = {
        name: function["Properties"]["Environment"]["Variables"]["MAP_DATABASE_USER"]
        for name, function in FUNCTIONS.items()
    }
    assert [name for name, user in users.items() if user == "map_operator"] == ["AdminFunction"]


def test_who_seals_secrets_cannot_read_them_and_both_name_the_tenant() -> None:
    policies = of_type(STACKS["data.yaml"]["Resources"], "AWS::IAM::ManagedPolicy")
    named = {"Null": {"kms:EncryptionContext:tenant_id": "false"}}
    may = {
        (name, statement["Action"])
        for name, policy in policies.items()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if str(statement["Action"]).startswith("kms:")
        and "ViaService" not in json.dumps(statement["Condition"])
        and statement["Condition"] == named
    }
    assert may == {("SealAccess", "kms:Encrypt"), ("ModelsAccess", "kms:Decrypt")}


def test_models_of_bedrock_are_asked_only_where_the_operator_says_so() -> None:
    access = {
        (file, name): resource.get("Condition")
        for file, name, resource in nested()
        if any(re.match(r"bedrock:|.*bedrock-runtime$", text) for text in texts(resource))
    }
    assert access == {
        ("data.yaml", "BedrockAccess"): "AsksBedrock",
        ("network.yaml", "BedrockEndpoint"): "BedrockWithoutNat",
    }
    asked = {"Fn::Equals": [{"Ref": "Bedrock"}, "true"]}
    assert STACKS["data.yaml"]["Conditions"]["AsksBedrock"] == asked
    assert asked in STACKS["network.yaml"]["Conditions"]["BedrockWithoutNat"]["Fn::And"]
    assert asked in SOURCE["Conditions"]["AsksBedrock"]["Fn::And"]
    granted = [
        policy["Fn::If"][0]
        for role in of_type(RESOURCES, "AWS::IAM::Role").values()
        for policy in role["Properties"]["ManagedPolicyArns"]
        if "BedrockAccess" in json.dumps(policy)
    ]
    assert granted == ["AsksBedrock"] * 2  # runs and the worker


def test_no_tool_is_called_over_plain_http_on_aws() -> None:
    said = {
        name: function["Properties"]["Environment"]["Variables"]["MAP_PLAIN_HTTP"]
        for name, function in FUNCTIONS.items()
        if "MAP_PLAIN_HTTP" in function["Properties"]["Environment"]["Variables"]
    }
    on_aws_never = {"Fn::If": ["Cloud", "false", {"Ref": "PlainHttp"}]}
    assert said == dict.fromkeys(("ToolsFunction", "RunsFunction", "WorkerFunction"), on_aws_never)


def test_only_the_proxy_reads_the_owners_secret() -> None:
    readers = [
        name
        for _, name, resource in nested()
        if "MasterUserSecret.SecretArn" in str(resource)
        or "MasterUserSecret', 'SecretArn" in str(resource)
    ]
    assert set(readers) == {"Proxy", "ProxyRole"}


def test_every_wildcard_in_a_permission_has_a_reason_beside_it() -> None:
    wild = re.compile(r"""(Action|Resource|Principal)\b.*(:\*|['"]\*['"]|-\*/\*)""")
    found = 0
    for file in FILES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if wild.search(line):
                found += 1
                assert " # " in line, f"{file.name}:{number} {line.strip()}"
    assert found >= 4


def test_amazons_managed_policies_are_few_and_known() -> None:
    policies = {
        name
        for resources in (RESOURCES, *(stack["Resources"] for stack in STACKS.values()))
        for role in of_type(resources, "AWS::IAM::Role").values()
        for arn in texts(role["Properties"].get("ManagedPolicyArns", []))
        for name in re.findall(r"policy/(?:service-role/)?(\w+)$", arn)
    }
    assert policies
    assert policies <= set(MANAGED)


# ── Exposure ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_but_the_api_can_be_reached_from_outside() -> None:
    for file, name, resource in nested():
        properties = resource.get("Properties", {})
        where = f"{file}: {name}"
        assert properties.get("PubliclyAccessible") in {None, False}, where
        assert "MapPublicIpOnLaunch" not in properties, where
        if resource["Type"] in {"AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"}:
            incoming = properties.get("SecurityGroupIngress", [properties])
            assert not any("CidrIp" in rule for rule in incoming), where
    for instance in of_type(STACKS["data.yaml"]["Resources"], "AWS::RDS::DBInstance").values():
        assert instance["Properties"]["PubliclyAccessible"] is False
    assert not of_type(RESOURCES, "AWS::Lambda::Url")


def test_a_browser_may_ask_beforehand_without_a_key_for_every_path() -> None:
    for path, operations in API["Properties"]["Body"]["paths"].items():
        ask = operations["options"]
        assert ask["x-amazon-apigateway-integration"]["type"] == "mock", path
        assert "security" not in ask, path


def test_only_the_system_function_answers_without_a_key() -> None:
    for path, operations in API["Properties"]["Body"]["paths"].items():
        for method, operation in operations.items():
            if method == "options":
                continue
            integration = json.dumps(operation["x-amazon-apigateway-integration"])
            is_open = operation.get("security") in (None, [], [{"NONE": []}])
            assert is_open == ("SystemFunction" in integration), path


def test_what_is_kept_is_encrypted_with_the_stacks_key() -> None:
    data = STACKS["data.yaml"]["Resources"]
    for name in ("Cluster", "Cache", "Peppers", "Providers"):
        assert data[name]["Properties"]["KmsKeyId"] == {"Ref": "Key"}, name
    assert data["Cluster"]["Properties"]["StorageEncrypted"] is True
    assert data["Proxy"]["Properties"]["RequireTLS"] is True
    assert data["Settings"]["Properties"]["Parameters"]["rds.force_ssl"] == "1"


def test_what_cannot_be_made_again_outlives_the_stack() -> None:
    kept = {
        (file, name): resource.get("DeletionPolicy")
        for file, name, resource in nested()
        if resource["Type"]
        in {"AWS::RDS::DBCluster", "AWS::KMS::Key", "AWS::SecretsManager::Secret"}
    }
    assert kept == {
        ("data.yaml", "Cluster"): "Snapshot",
        ("data.yaml", "Peppers"): "Retain",
        ("data.yaml", "Providers"): "Delete",
        ("foundation.yaml", "Key"): "Retain",
    }


def test_every_queue_has_a_dead_letter_queue() -> None:
    queues = of_type(RESOURCES, "AWS::SQS::Queue")
    dead = {
        name
        for queue in queues.values()
        for name in texts(queue["Properties"].get("RedrivePolicy", {}))
    }
    assert all(
        name in dead or "RedrivePolicy" in queue["Properties"] for name, queue in queues.items()
    )


# ── Gateway responses ────────────────────────────────────────────────────────────────────────────

RESPONSES: dict[str, Any] = API["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"]
STATUS = {
    "MISSING_API_KEY": 401,
    "INVALID_API_KEY": 401,
    "ROUTE_NOT_FOUND": 404,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "VALIDATION_ERROR": 422,
    "RATE_LIMIT_EXCEEDED": 429,
    "INTERNAL_SERVER_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@pytest.mark.parametrize("kind", RESPONSES)
def test_api_gateways_own_answer_has_our_shape_and_status(kind: str) -> None:
    response = RESPONSES[kind]
    [(content_type, template)] = response["responseTemplates"].items()
    rendered = template.replace("$context.error.messageString", '"a message"')
    error = json.loads(re.sub(r"\$context\.[\w.]+", "value", rendered))
    assert content_type == "application/json"
    assert list(error) == ["error_code", "message", "details"]
    assert isinstance(error["details"], dict)
    assert int(response["statusCode"]) == STATUS[error["error_code"]]
    headers = response["responseParameters"]
    assert headers["gatewayresponse.header.X-Request-Id"] == "context.requestId"
    origin = headers["gatewayresponse.header.Access-Control-Allow-Origin"]
    assert origin == {"Fn::Sub": "'${CorsOrigin}'"}  # a page may read refusals too
    if STATUS[error["error_code"]] in {429, 503}:
        assert "gatewayresponse.header.Retry-After" in headers


def test_whatever_api_gateway_answers_falls_under_one_of_ours() -> None:
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(RESPONSES)


# ── How the files fit together ───────────────────────────────────────────────────────────────────


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
        assert application["Condition"] == ("Fronted" if name == "Edge" else "Cloud")


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
