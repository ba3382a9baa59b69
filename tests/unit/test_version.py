"""One version, in pyproject.toml; what must repeat it is held against it."""

import json
import re
import subprocess
import tomllib

from mini_agent import API_VERSION
from scripts.openapi import ROOT, TARGET

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PYPROJECT["project"]["version"]
RELEASE = re.compile(r"^## \[?(\d+\.\d+\.\d+)\]? - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
# The version itself, the two that repeat it, and locks, whose packages have versions of their own.
MAY_HAVE_IT = re.compile(r"pyproject\.toml|CHANGELOG\.md|.*openapi\.json|.*requirements.*|.*lock.*")


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    releases = RELEASE.findall(CHANGELOG)
    assert releases[0][0] == VERSION


def test_releases_in_the_changelog_have_dates_and_the_newest_is_first() -> None:
    releases = RELEASE.findall(CHANGELOG)
    assert len(releases) == len(re.findall(r"^## (?!\[?Unreleased)", CHANGELOG, re.MULTILINE))
    dates = [date for _, date in releases]
    assert dates == sorted(dates, reverse=True)


def test_the_description_of_the_api_has_the_releases_version() -> None:
    assert json.loads(TARGET.read_text())["info"]["version"] == VERSION


def test_health_tells_the_apis_version_whatever_the_release() -> None:
    assert API_VERSION == "1.0.0"


def test_no_other_file_repeats_the_version() -> None:
    found = subprocess.run(
        ["git", "grep", "--files-with-matches", "--fixed-strings", "--word-regexp", VERSION],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert [file for file in found if not MAY_HAVE_IT.fullmatch(file)] == []
