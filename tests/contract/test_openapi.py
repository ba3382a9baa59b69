"""The documentation over HTTP: what it says is there is there, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import fastapi_offline
import httpx
import pytest

from functions.system import docs
from scripts import openapi
from tests.contract.client import HttpClient
from tests.contract.conftest import LocalStack
from tests.contract.tenants import add_tenant
from tests.integration.test_system import Links

DOCUMENT: dict[str, Any] = json.loads(openapi.TARGET.read_text())
STATIC = Path(fastapi_offline.__file__).with_name("static")
METHODS = {"GET", "POST", "PUT", "DELETE", "PATCH"}


@pytest.fixture(scope="module")
def client(local_stack: LocalStack) -> Iterator[HttpClient]:
    [key] = add_tenant(local_stack)
    with HttpClient(local_stack.url, key) as client:
        yield client


def test_the_document_served_is_the_one_in_the_tree(base_url: str) -> None:
    with HttpClient(base_url) as nobody:
        assert nobody("GET", "/openapi.json").json == DOCUMENT


def test_the_document_is_compressed_for_clients_that_accept_it(base_url: str) -> None:
    url = f"{base_url}/openapi.json"
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
    small = httpx.get(url, headers={"Accept-Encoding": "br, gzip;q=0.8"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < 30_000 < int(plain.headers["content-length"])
    assert small.json() == plain.json() == DOCUMENT
    health = httpx.get(f"{base_url}/health", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in health.headers  # too short to gain from it


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_a_path_takes_the_methods_that_the_document_says_and_no_other(
    client: HttpClient, path: str
) -> None:
    real = path
    for name in ("tool_id", "agent_id", "execution_id"):
        real = real.replace(f"{{{name}}}", str(uuid4()))
    documented = {method.upper() for method in DOCUMENT["paths"][path]}
    for method in METHODS:
        answer = client(method, real, {} if method in {"POST", "PUT"} else None)
        assert (answer.status == 405) == (method not in documented)
        if answer.status == 405:
            assert {*answer.headers["allow"].split(", ")} == documented
        else:
            operation = DOCUMENT["paths"][path][method.lower()]
            assert str(answer.status) in operation["responses"]
            if answer.status >= 400:
                answered = openapi.resolve(operation["responses"][str(answer.status)], DOCUMENT)
                examples = answered["content"]["application/json"]["examples"]
                assert answer.error_code in examples


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_documentation_page_and_all_that_it_loads_come_from_here(
    base_url: str, path: str
) -> None:
    with HttpClient(base_url) as nobody:
        links = Links(nobody("GET", path).text).found
        assert len(links) >= 2
        for link in links:
            url = urljoin(f"{base_url}{path}", link)
            assert url.startswith(base_url)
            assert nobody.http.get(url).status_code == 200


@pytest.mark.parametrize("name", docs.ASSETS)
def test_an_asset_arrives_byte_by_byte(base_url: str, name: str) -> None:
    with HttpClient(base_url) as nobody:
        served = nobody.http.get(f"/docs/{name}")
    assert served.content == (STATIC / name).read_bytes()
    assert served.headers["content-type"].startswith(docs.ASSETS[name])
