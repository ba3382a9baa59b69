"""`make audit`: when it fails, and when it only says that nothing was checked."""

import json
from typing import Any

import pytest

from scripts import audit

SOUND = {"name": "sound", "version": "1.0", "vulns": []}
BROKEN = {
    "name": "broken",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}],
}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI: unknown (1.0)"}


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_dependencies_without_a_known_vulnerability_pass() -> None:
    assert audit.findings(report(SOUND), "") == []


def test_a_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    assert audit.findings(report(SOUND, BROKEN), "Found 1 known vulnerability") == [
        "broken 2.0: PYSEC-2026-1, fixed in 2.1"
    ]


def test_a_dependency_that_the_database_does_not_know_is_a_finding() -> None:
    assert audit.findings(report(SOUND, UNKNOWN), "") == [UNKNOWN["skip_reason"]]


@pytest.mark.parametrize(
    ("output", "log"),
    [
        ("", "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed"),
        ("", "pip_audit._service.interface.ServiceError"),
        (report(UNKNOWN), ""),  # a mirror without the database knows none
    ],
)
def test_an_unreachable_database_is_told_apart_from_findings(output: str, log: str) -> None:
    with pytest.raises(audit.DatabaseUnreachable):
        audit.findings(output, log)


def test_any_other_failure_of_pip_audit_is_not_taken_for_an_unreachable_database() -> None:
    with pytest.raises(audit.AuditFailed, match="invalid requirement"):
        audit.findings("", "ERROR:pip_audit._cli:invalid requirement")


@pytest.mark.parametrize(("output", "code"), [(report(SOUND), 0), (report(BROKEN), 1)])
def test_the_exit_code_tells_whether_there_are_findings(
    output: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_pip_audit", lambda _lock: (output, ""))
    assert audit.main() == code


def test_without_the_database_it_says_so_and_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "_pip_audit", lambda _lock: ("", "ConnectionError"))
    assert audit.main() == 0
    assert "cannot be reached, so nothing was checked" in capsys.readouterr().out


def test_every_lock_of_python_packages_is_checked() -> None:
    locks = {str(lock.relative_to(audit.ROOT)) for lock in audit.LOCKS}
    assert locks >= {"layers/models/requirements.txt", "requirements/dev.txt"}
