"""Secrets, through the Lambda handler, and how they are sealed."""

import base64
from collections.abc import Iterator
from io import StringIO
from uuid import UUID, uuid4

import boto3
import pytest
from moto import mock_aws

from mini_agent import aws
from mini_agent.data import encryption
from mini_agent.errors import ServiceUnavailable
from tests.conftest import Connection, MakeTenant
from tests.databases import configured
from tests.integration.client import Client, refused_fields

VALUE = "canary-2f6c1e"
REGION = "eu-west-1"


def local_key() -> str:
    return "local:" + base64.urlsafe_b64encode(uuid4().bytes * 2).decode()


@pytest.fixture
def locally() -> Iterator[None]:
    with configured(secrets_key=local_key()):
        yield


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A KMS with a key; nothing leaves this process."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        key = boto3.client("kms", REGION).create_key()["KeyMetadata"]["Arn"]
        with configured(secrets_key=f"kms:{key}"):
            yield
    aws._client.cache_clear()


@pytest.fixture(params=["locally", "kms"])
def sealed_somehow(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(request.param)


def sealed(admin: Connection, name: str = "search") -> list[tuple[UUID, bytes]]:
    return admin.execute(
        "select tenant_id, ciphertext from app.secrets where name = %s", (name,)
    ).fetchall()


def test_a_secret_is_written_listed_changed_and_deleted_and_its_value_never_told(
    client: Client, locally: None
) -> None:
    made = client("PUT", "/secrets/search", {"value": VALUE})
    assert (made.status, made.json.keys()) == (200, {"name", "created_at", "updated_at"})
    changed = client("PUT", "/secrets/search", {"value": "another"})
    assert changed.json["created_at"] == made.json["created_at"]
    assert changed.json["updated_at"] > made.json["updated_at"]
    other = client("PUT", "/secrets/Mail.key_2-x", {"value": VALUE})
    listed = client("GET", "/secrets?include_total=true")
    assert listed.json == {
        "items": [changed.json, other.json],
        "has_more": False,
        "next_cursor": None,
        "total": 2,
    }
    first = client("GET", "/secrets?limit=1")
    second = client("GET", f"/secrets?limit=1&cursor={first.json['next_cursor']}")
    assert second.json["items"] == [other.json]
    gone = client("DELETE", "/secrets/search")
    assert (gone.status, gone.text) == (204, "")
    absent = client("DELETE", "/secrets/search")
    assert (absent.status, absent.error_code) == (404, "SECRET_NOT_FOUND")
    assert absent.json["details"] == {"name": "search"}


def test_a_stored_value_opens_for_its_tenant_and_name_as_it_was_sent(
    client: Client, admin: Connection, sealed_somehow: None
) -> None:
    for value in ("x", "a\r\nb\tc ~!", "s" * 4000):
        assert client("PUT", "/secrets/search", {"value": f" {value}\n"}).status == 200
        [(tenant_id, text)] = sealed(admin)
        assert encryption.decrypt(tenant_id, "search", text) == value


def test_the_same_value_is_never_sealed_the_same(sealed_somehow: None) -> None:
    tenant = uuid4()
    assert encryption.encrypt(tenant, "a", VALUE) != encryption.encrypt(tenant, "a", VALUE)


def test_what_is_sealed_opens_for_no_other_tenant_name_or_key_and_in_no_other_form(
    sealed_somehow: None,
) -> None:
    tenant = uuid4()
    text = encryption.encrypt(tenant, "search", VALUE)
    changed = text[:-1] + bytes([text[-1] ^ 1])
    for moved in (
        (uuid4(), "search", text),
        (tenant, "mail", text),
        (tenant, "search", changed),
        (tenant, "search", text[:5]),
        (tenant, "search", b""),
    ):
        with pytest.raises(encryption.DecryptionError):
            encryption.decrypt(*moved)
    with configured(secrets_key=local_key()), pytest.raises(encryption.DecryptionError):
        encryption.decrypt(tenant, "search", text)
    assert encryption.decrypt(tenant, "search", text) == VALUE


def test_without_a_key_or_without_kms_nothing_is_stored(
    client: Client, admin: Connection, kms: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with configured(secrets_key=f"kms:arn:aws:kms:{REGION}:123456789012:key/{uuid4()}"):
        unknown = client("PUT", "/secrets/search", {"value": VALUE})
    with configured(secrets_key=""):
        unset = client("PUT", "/secrets/search", {"value": VALUE})
    for refused in (unknown, unset):
        assert (refused.status, refused.error_code) == (503, "SERVICE_UNAVAILABLE")
        assert refused.json["details"] == {"reason": "secrets"}
    assert sealed(admin) == []
    with configured(secrets_key=""), pytest.raises(ServiceUnavailable):
        encryption.decrypt(uuid4(), "search", b"")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"value": ""}, "body.value"),
        ({"value": " \n"}, "body.value"),
        ({"value": VALUE + "s" * 4000}, "body.value"),
        ({"value": VALUE + "é"}, "body.value"),
        ({"value": VALUE + "\0"}, "body.value"),
        ({"value": VALUE + "\ud800"}, "body.value"),
        ({"value": [VALUE]}, "body.value"),
        ({"value": {"value": VALUE}}, "body.value"),
        ({"Value": VALUE}, "body.value"),
        ({"value": VALUE, "values": VALUE}, "body.values"),
        (VALUE, "body"),
        ([VALUE], "body"),
        (f'{{"value": "{VALUE}', "body"),
    ],
    ids=ascii,
)
def test_an_unfit_value_is_refused_and_not_told(
    client: Client, log: StringIO, locally: None, body: object, field: str
) -> None:
    refused = client("PUT", "/secrets/search", body)
    assert any(name.startswith(field) for name in refused_fields(refused))
    assert VALUE not in refused.text + log.getvalue()


@pytest.mark.parametrize("name", ["a b", "a%20b", "é", "a" * 101, "a:b", "a%0A", "$x"])
def test_an_unfit_name_is_refused(client: Client, locally: None, name: str) -> None:
    for method, body in (("PUT", {"value": VALUE}), ("DELETE", None)):
        assert refused_fields(client(method, f"/secrets/{name}", body)) == {"path.name"}


def test_a_value_is_in_no_answer_log_line_or_row_whatever_goes_wrong(
    client: Client, admin: Connection, log: StringIO, sealed_somehow: None
) -> None:
    told = [client("PUT", "/secrets/search", {"value": VALUE}), client("GET", "/secrets")]
    admin.execute("revoke insert on app.secrets from map_api")
    try:
        told.append(client("PUT", "/secrets/search", {"value": VALUE}))
    finally:
        admin.execute("grant insert on app.secrets to map_api")
    with configured(secrets_key=f"kms:arn:aws:kms:{REGION}:123456789012:key/{uuid4()}"):
        told.append(client("PUT", "/secrets/search", {"value": VALUE}))
    with configured(secrets_key="local:broken"):
        told.append(client("PUT", "/secrets/search", {"value": VALUE}))
    assert [answer.status for answer in told] == [200, 200, 500, 503, 500]
    assert VALUE not in "".join(answer.text for answer in told) + log.getvalue()
    assert log.getvalue().count("permission denied") >= 1
    assert VALUE not in str(admin.execute("select s::text from app.secrets s").fetchall())


def test_a_tenants_secrets_are_its_own(client: Client, other: Client, locally: None) -> None:
    client("PUT", "/secrets/search", {"value": VALUE})
    assert other("GET", "/secrets").json["items"] == []
    assert other("DELETE", "/secrets/search").error_code == "SECRET_NOT_FOUND"
    assert other("PUT", "/secrets/search", {"value": "theirs"}).status == 200
    assert len(client("GET", "/secrets").json["items"]) == 1


def test_reading_and_writing_take_their_own_scopes(make_tenant: MakeTenant, locally: None) -> None:
    reader = Client(make_tenant(scopes=("secrets:read",)))
    writer = Client(make_tenant(scopes=("secrets:write",)))
    assert writer("PUT", "/secrets/search", {"value": VALUE}).status == 200
    assert writer("GET", "/secrets").error_code == "INSUFFICIENT_SCOPE"
    assert reader("GET", "/secrets").status == 200
    for method, body in (("PUT", {"value": VALUE}), ("DELETE", None)):
        assert reader(method, "/secrets/search", body).error_code == "INSUFFICIENT_SCOPE"
