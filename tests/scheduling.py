"""Which process runs which tests, and in which order.

Files go to processes whole, so that what a file's tests share is started once. The longest go
first: otherwise one process would still be busy with them when the others have finished.
"""

import os

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = {
    "tests/cli/": "cli",
    "tests/contract/test_schemathesis.py": "local_stack",
    "tests/contract/test_api.py": "local_stack",
    "tests/contract/test_hostile.py": "local_stack",
    "tests/contract/test_openapi.py": "local_stack",
    "tests/e2e/": "local_stack",
}
"""Files by the platform that they share; all of one group run in one process."""
LONGEST = (
    "tests/contract/test_background.py",
    "tests/contract/test_schemathesis.py",
    "tests/contract/test_bench.py",
    "tests/template/test_build.py",
    "tests/cli/",
    "tests/integration/test_budget_concurrency.py",
    "tests/contract/test_local_run.py",
    "tests/contract/test_faults.py",
    "tests/contract/test_audit_faults.py",
    "tests/integration/test_isolation_machine.py",
    "tests/integration/test_scope_matrix.py",
    "tests/integration/test_idempotency.py",
    "tests/integration/test_sweep_tenants.py",
    "tests/contract/test_readme.py",
)
"""Files that need more than ten seconds of processor time, the longest first."""


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes for `-n auto`: one more than cores, since tests also wait."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: _rank(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Return the scheduler for several processes."""
    config.option.loadscopereorder = False
    return _FileScheduling(config, log)


class _FileScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process whole files, and files that share a platform together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((group for path, group in TOGETHER.items() if file.startswith(path)), file)


def _rank(nodeid: str) -> int:
    return next((n for n, path in enumerate(LONGEST) if nodeid.startswith(path)), len(LONGEST))
