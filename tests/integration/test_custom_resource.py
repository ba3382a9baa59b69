"""The migrate function as CloudFormation calls it, against a server in CloudFormation's place."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from functions.migrate import app
from tests.events import Context


class CloudFormation(HTTPServer):
    """Takes answers and keeps them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.answers: list[dict[str, Any]] = []

    def event(self, request_type: str) -> dict[str, Any]:
        return {
            "RequestType": request_type,
            "ResponseURL": f"http://127.0.0.1:{self.server_port}/",
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "Migrations",
        }


class Answers(BaseHTTPRequestHandler):
    server: CloudFormation

    def do_PUT(self) -> None:
        assert not self.headers["Content-Type"]  # a presigned URL was not signed for one
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is there at once."""
    monkeypatch.setattr(app, "_await_database", lambda: None)


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    with CloudFormation() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


NAMES = {
    "StackId": "stack",
    "RequestId": "request",
    "LogicalResourceId": "Migrations",
    "PhysicalResourceId": "Migrations",
}


def test_applied_versions_are_told(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "run", lambda: ["0001_a", "0002_b"])
    app.handler(cloudformation.event("Create"), Context())
    assert cloudformation.answers == [
        {"Status": "SUCCESS", "Data": {"Applied": "0001_a, 0002_b"}, **NAMES}
    ]


def test_a_failure_is_told_with_its_reason_instead_of_being_raised(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[str]:
        raise app.MigrationError("0002_b.sql: no such table")

    monkeypatch.setattr(app, "run", fail)
    app.handler(cloudformation.event("Update"), Context())
    assert cloudformation.answers == [
        {"Status": "FAILED", "Reason": "MigrationError: 0002_b.sql: no such table", **NAMES}
    ]


def test_a_rollback_to_code_older_than_the_database_succeeds(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[str]:
        raise app.NewerDatabaseError("this database has migrations that this code does not know")

    monkeypatch.setattr(app, "run", fail)
    app.handler(cloudformation.event("Update"), Context())
    assert cloudformation.answers == [{"Status": "SUCCESS", "Data": {"Applied": ""}, **NAMES}]


def test_deleting_the_resource_leaves_the_database_alone(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(app, "run", lambda: ran.append("run"))
    app.handler(cloudformation.event("Delete"), Context())
    assert [answer["Status"] for answer in cloudformation.answers] == ["SUCCESS"]
    assert ran == []
