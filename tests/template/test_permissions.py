"""Who may do what: roles, database users, secrets, keys."""

import json
import re

from tests.template.templates import (
    FILES,
    FUNCTIONS,
    RESOURCES,
    SOURCE,
    STACKS,
    nested,
    of_type,
    texts,
)

MANAGED = {
    "AWSLambdaBasicExecutionRole": "writes the function's log",
    "AWSLambdaBasicDurableExecutionRolePolicy": "the same, and a durable function's own state",
    "AWSLambdaVPCAccessExecutionRole": "EC2 has no narrower permission for network interfaces",
    "AWSXRayDaemonWriteAccess": "X-Ray has no resources to name",
    "AWSXrayWriteOnlyAccess": "X-Ray has no resources to name",
    "AWSCodeDeployRoleForLambda": "CodeDeploy's own, for this one service",
    "AmazonRDSEnhancedMonitoringRole": "RDS's own, into its own log group",
    "AmazonAPIGatewayPushToCloudWatchLogs": "API Gateway's own, for its logs",
}


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
            "SecretsFunction": {"ApiAccess", "EncryptionAccess"},
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
        "EncryptionAccess": set(),
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
    assert may == {("EncryptionAccess", "kms:Encrypt"), ("ModelsAccess", "kms:Decrypt")}


def test_models_of_bedrock_are_asked_only_where_the_operator_says_so() -> None:
    access = {
        (file, name): resource.get("Condition")
        for file, name, resource in nested()
        if any(re.match(r"bedrock:|.*bedrock-runtime$", text) for text in texts(resource))
    }
    assert access == {
        ("data.yaml", "BedrockAccess"): "UsesBedrock",
        ("network.yaml", "BedrockEndpoint"): "BedrockWithoutNat",
    }
    asked = {"Fn::Equals": [{"Ref": "Bedrock"}, "true"]}
    assert STACKS["data.yaml"]["Conditions"]["UsesBedrock"] == asked
    assert asked in STACKS["network.yaml"]["Conditions"]["BedrockWithoutNat"]["Fn::And"]
    assert asked in SOURCE["Conditions"]["UsesBedrock"]["Fn::And"]
    granted = [
        policy["Fn::If"][0]
        for role in of_type(RESOURCES, "AWS::IAM::Role").values()
        for policy in role["Properties"]["ManagedPolicyArns"]
        if "BedrockAccess" in json.dumps(policy)
    ]
    assert granted == ["UsesBedrock"] * 2  # runs and the worker


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
