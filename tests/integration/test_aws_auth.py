"""Signing in with IAM tokens, over TLS, to a real Postgres and a real Redis."""

import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
import psycopg
import pytest
import redis
from botocore import auth
from botocore.crt import auth as crt_auth
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped] # has no types

from functions.runs.engine import budgets
from functions.sweep import service
from local import backends
from mini_agent import aws
from mini_agent.data import aws_auth, db, redis_client
from mini_agent.errors import ServiceUnavailable
from mini_agent.http import rate_limit
from mini_agent.identity import peppers
from mini_agent.identity.callers import Caller
from mini_agent.settings import settings
from tests.databases import configured
from tests.events import uuid
from tests.tls import HOST, Authority, front

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Clock:
    """The current time, as botocore sees it."""

    now = START

    def __call__(self, *, remove_tzinfo: bool = True) -> datetime:
        return self.now.replace(tzinfo=None) if remove_tzinfo else self.now

    def forward(self, **by: int) -> None:
        self.now += timedelta(**by)


@pytest.fixture(autouse=True)
def role(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Credentials as Lambda gives them to a function."""
    for name, value in {
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "session",
    }.items():
        monkeypatch.setenv(name, value)
    aws_auth._session.cache_clear()
    settings.cache_clear()
    yield
    aws_auth._session.cache_clear()
    settings.cache_clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # that has other credentials
    for module in (auth, crt_auth):  # the SDK signs by either
        monkeypatch.setattr(module, "get_current_datetime", clock)
    return clock


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "right")


@pytest.fixture(scope="module")
def stranger_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "wrong")


@pytest.fixture(scope="module")
def postgres_port(authority: Authority, postgres: backends.Server) -> Iterator[int]:
    with front(authority, f"{postgres.socket}/.s.PGSQL.5432", postgres=True) as port:
        yield port


@pytest.fixture(scope="module")
def redis_port(authority: Authority, redis_server: backends.Server) -> Iterator[int]:
    with front(authority, redis_server.socket) as port:
        yield port


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_auth, "ROOTS", authority.root)


def query(token: str) -> dict[str, str]:
    return dict(parse_qsl(token.partition("?")[2]))


# ── Tokens ───────────────────────────────────────────────────────────────────────────────────────


def test_the_database_token_is_the_one_that_the_sdk_makes(clock: Clock) -> None:
    ours = aws_auth.database_token("proxy.example", 5432, "map_api")
    theirs = boto3.client("rds").generate_db_auth_token("proxy.example", 5432, "map_api")
    assert query(ours) == query(theirs)
    assert ours.partition("?")[0] == theirs.partition("?")[0] == "proxy.example:5432/"


def test_each_connection_to_the_database_has_a_token_of_its_own_after_16_minutes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[dict[str, Any]] = []

    def connect(**arguments: Any) -> None:
        used.append(arguments)
        raise psycopg.OperationalError("never mind")

    monkeypatch.setattr(psycopg, "connect", connect)
    with configured(database_auth="iam", database_host="proxy.example"):
        for _ in range(2):
            with pytest.raises(ServiceUnavailable):
                db._connect()
            clock.forward(minutes=16)
    made = [query(arguments["password"]) for arguments in used]
    assert [token["X-Amz-Date"] for token in made] == ["20260101T120000Z", "20260101T121600Z"]
    assert {token["X-Amz-Expires"] for token in made} == {"900"}
    assert {arguments["sslmode"] for arguments in used} == {"verify-full"}


def test_each_connection_to_the_cache_has_a_token_of_its_own_after_16_minutes(
    clock: Clock, trusted: None, redis_port: int
) -> None:
    with_iam = {
        "database_auth": "iam",
        "redis_url": f"rediss://{HOST}:{redis_port}",
        "redis_cache": "map",
        "redis_user": "map-api",
    }
    with configured(**with_iam):
        provider = redis_client.client().connection_pool.connection_kwargs["credential_provider"]
    user, first = provider.get_credentials()
    clock.forward(minutes=16)
    _, second = provider.get_credentials()
    assert user == query(first)["User"] == "map-api"
    assert query(first)["ResourceType"] == "ServerlessCache"
    assert query(first)["X-Amz-Date"] == "20260101T120000Z"
    assert query(second)["X-Amz-Date"] == "20260101T121600Z"
    assert first.startswith("map/?")


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


def read_over_tls(host: str, port: int) -> int:
    """Connect as a function does, and read a number."""
    with configured(database_auth="iam", database_host=host, database_port=str(port)):
        [number] = db._connect().execute("select 7").fetchone() or [None]
    assert isinstance(number, int)
    return number


def test_the_database_answers_under_its_name_and_authority(
    trusted: None, postgres_port: int
) -> None:
    assert read_over_tls(HOST, postgres_port) == 7


def test_a_database_with_another_authority_is_refused(
    stranger_authority: Authority, postgres_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_auth, "ROOTS", stranger_authority.root)
    with pytest.raises(ServiceUnavailable) as refused:
        read_over_tls(HOST, postgres_port)
    assert "certificate verify failed" in str(refused.value.__cause__)


def test_a_database_under_another_name_is_refused(trusted: None, postgres_port: int) -> None:
    with pytest.raises(ServiceUnavailable) as refused:
        read_over_tls("127.0.0.1", postgres_port)
    assert "does not match host name" in str(refused.value.__cause__)


@pytest.fixture
def cache_user(redis_server: backends.Server) -> Iterator[redis.Redis]:
    """A Redis whose user for the functions has the permissions in stacks/data.yaml."""
    template = yaml_parse((ROOT / "stacks" / "data.yaml").read_text())
    rules = template["Resources"]["CacheUser"]["Properties"]["AccessString"].split()
    with redis.Redis(unix_socket_path=redis_server.socket) as admin:
        set_user = ("ACL", "SETUSER", "map-api", "reset", "nopass", *rules)
        admin.execute_command(*set_user)
        yield admin
        admin.acl_deluser("map-api")


def admit_over_tls(host: str, port: int) -> dict[str, str]:
    """Ask the limiter as a function does; raises ServiceUnavailable if it cannot connect."""
    caller = Caller(uuid(1), uuid(2), frozenset(), 100)
    redis_client._open_until = 0.0
    with configured(
        database_auth="iam",
        redis_url=f"rediss://{host}:{port}",
        redis_cache="map",
        redis_user="map-api",
    ):
        return rate_limit.admit(caller, required=True)


def test_budgets_work_with_what_the_caches_user_may_do(
    cache_user: redis.Redis, redis_server: backends.Server, clean: None
) -> None:
    asked = ("reserve", "a:1", 10, 20, "since", "rebuilder", 5, 300, 1, 1, 1000, "")
    steps: list[tuple[tuple[str | int, ...], list[int]]] = [
        (asked, [-1, 1]),
        (("install", "rebuilder", "since", 0, 100, 0, 0, "b:1", 7, 7, 50), [1]),
        (asked, [1, 300]),
        (("settle", "a:1", 11, 5, 5), [1]),
        (("drop",), [1]),
    ]
    with configured(redis_url=f"unix://{redis_server.socket}?username=map-api&password=x"):
        for told, answer in steps:
            assert budgets._run_script(uuid(1), *told) == answer


def test_the_limiter_and_the_sweep_work_with_what_the_caches_user_may_do(
    trusted: None,
    cache_user: redis.Redis,
    redis_port: int,
    redis_server: backends.Server,
    clean: None,
) -> None:
    headers = admit_over_tls(HOST, redis_port)
    assert headers["X-RateLimit-Remaining"] == "99"
    with configured(redis_url=f"unix://{redis_server.socket}?username=map-api&password=x"):
        uses = list(service._key_uses())
        service._delete_from_redis(uses)
        assert [use.tenant_id for use in uses] == [uuid(1)]
        assert list(service._key_uses()) == []
    assert "map-api" in cache_user.acl_users()


def test_the_limiters_user_may_do_nothing_else(
    cache_user: redis.Redis, redis_server: backends.Server
) -> None:
    path = redis_server.socket
    with redis.Redis(unix_socket_path=path, username="map-api", password="x") as limited:
        assert limited.ping()
        for call in (limited.keys, limited.flushall, limited.config_get, limited.randomkey):
            with pytest.raises(redis.exceptions.NoPermissionError):
                call()
        with pytest.raises(redis.exceptions.NoPermissionError):
            limited.lpush("another:key", "x")


def test_a_cache_with_another_authority_is_refused(
    stranger_authority: Authority,
    cache_user: redis.Redis,
    redis_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aws_auth, "ROOTS", stranger_authority.root)
    with pytest.raises(ServiceUnavailable) as refused:
        admit_over_tls(HOST, redis_port)
    assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value.__cause__)


def test_a_cache_under_another_name_is_refused(
    trusted: None, cache_user: redis.Redis, redis_port: int
) -> None:
    with pytest.raises(ServiceUnavailable) as refused:
        admit_over_tls("127.0.0.1", redis_port)
    assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value.__cause__)


def test_only_amazons_authorities_are_trusted() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(aws_auth.ROOTS)
    roots = context.get_ca_certs()
    assert len(roots) == 5
    for root in roots:
        assert re.search("Amazon Root CA|Starfield Services Root", str(root["subject"]))
        assert int(str(root["notAfter"]).split()[3]) >= 2037


@pytest.mark.parametrize(("asked_for", "loaded"), [("iam", True), ("none", False)])
def test_botocore_is_loaded_with_the_imports_where_iam_is_asked_for_and_nowhere_else(
    asked_for: str, loaded: bool
) -> None:
    # SnapStart takes its snapshot of what the imports have loaded.
    probe = "import sys; from functions.tools import app; print('botocore.auth' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", probe],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'layers/shared'}", "MAP_DATABASE_AUTH": asked_for},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == str(loaded)


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────


def test_a_pepper_added_to_the_secret_is_known_within_five_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with mock_aws():
        manager = boto3.client("secretsmanager")
        arn = manager.create_secret(Name="p", SecretString=json.dumps({"1": "old"}))["ARN"]
        with configured(key_peppers_secret=arn):
            aws._client.cache_clear()
            assert peppers.peppers() == {1: "old"}
            manager.put_secret_value(SecretId=arn, SecretString=json.dumps({"1": "old", "2": "n"}))
            assert peppers.peppers() == {1: "old"}
            later = time.monotonic() + peppers.MAX_AGE_SECONDS
            monkeypatch.setattr(time, "monotonic", lambda: later)
            assert peppers.peppers() == {1: "old", 2: "n"}
        aws._client.cache_clear()
    assert settings().key_peppers_secret == ""


@pytest.mark.parametrize(
    ("service", "seconds"), [("kms", 6), ("secretsmanager", 6), ("lambda", 21)]
)
def test_a_call_of_aws_gives_up_in_time(service: str, seconds: int) -> None:
    config = aws._client(service).meta.config
    attempts = config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) == seconds
