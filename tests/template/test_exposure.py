"""What can be reached from outside, what is encrypted, what outlives the stack."""

import json

from tests.template.templates import (
    API,
    RESOURCES,
    STACKS,
    nested,
    of_type,
    texts,
)


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
