"""Each function after SAM's transform: its role, log, alarm and versions."""

import json

from tests.template.templates import (
    APPLICATIONS,
    FUNCTIONS,
    RESOURCES,
    STACKS,
    of_type,
    transformed,
)


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
        "Fn::If": ["HasBackground", {"Ref": "WorkerFunctionAliaslive"}, ""]
    }


def test_a_deployment_goes_back_when_an_alarm_fires() -> None:
    groups = of_type(RESOURCES, "AWS::CodeDeploy::DeploymentGroup")
    assert len(groups) == 13  # every function but migrate and the worker
    for group in groups.values():
        assert "ServerErrors" in json.dumps(group["Properties"]["AlarmConfiguration"])
