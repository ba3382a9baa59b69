"""Checks the locked dependencies for known vulnerabilities, with pip-audit and PyPI's database.

Fails on a vulnerability, and on a dependency that PyPI does not know. Where the database cannot be
reached, it says so and passes: a machine without a network must still be able to run CI.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PIP_AUDIT = ROOT / ".venv-audit" / "bin" / "pip-audit"
LOCKS = (*ROOT.glob("layers/*/requirements.txt"), *ROOT.glob("requirements/*.txt"))
UNREACHABLE = re.compile(r"ConnectionError|ServiceError|Could not connect|Timeout")


class DatabaseUnreachable(Exception):
    """The vulnerability database gave no answer."""


class AuditFailed(Exception):
    """Pip-audit failed for another reason; the message is its output."""


def main() -> int:
    """Audit every lock; return the exit code."""
    problems: set[str] = set()
    for lock in LOCKS:
        try:
            problems |= set(findings(*_pip_audit(lock)))
        except DatabaseUnreachable:
            print("audit: the vulnerability database cannot be reached, so nothing was checked")
            break
        except AuditFailed as error:
            problems.add(f"{lock.relative_to(ROOT)}: pip-audit failed\n{error}")
    else:
        print(f"audit: {len(LOCKS)} locks checked, {len(problems) or 'no'} problems")
    for problem in sorted(problems):
        print(problem)
    return bool(problems)


def findings(report: str, log: str) -> list[str]:
    """Return one line for each vulnerability and each dependency that could not be checked.

    `report` and `log` are what pip-audit wrote to stdout (as JSON) and stderr.
    """
    if not report:
        raise DatabaseUnreachable if UNREACHABLE.search(log) else AuditFailed(log)
    dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    skipped = [found for found in dependencies if "skip_reason" in found]
    if len(skipped) == len(dependencies):  # a mirror that has packages, but not this database
        raise DatabaseUnreachable
    return [found["skip_reason"] for found in skipped] + [
        f"{found['name']} {found['version']}: {vulnerability['id']}, fixed in"
        f" {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for found in dependencies
        for vulnerability in found.get("vulns", ())
    ]


def _pip_audit(lock: Path) -> tuple[str, str]:
    process = subprocess.run(
        [
            *(PIP_AUDIT, "--disable-pip", "--require-hashes", "--progress-spinner", "off"),
            *("--format", "json", "--timeout", "15", "--requirement", lock),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout, process.stderr


if __name__ == "__main__":
    sys.exit(main())
