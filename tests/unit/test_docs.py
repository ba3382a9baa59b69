"""What the documents name exists: files, code, make targets, links; the index of decisions."""

import fnmatch
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CHECKED = (
    *("docs/architecture.md", "docs/glossary.md", "docs/security.md", "docs/operations.md"),
    *("CONTRIBUTING.md", "SECURITY.md"),
)
LINKED = (*CHECKED, "README.md", "docs/cli.md", "docs/performance.md", "sql/queries/README.md")
SOURCES = re.compile(
    r"(cli|functions|layers|local|lua|scripts|sql|stacks|tests|\.github)/.*"
    r"|Makefile|pyproject\.toml|template\.yaml|samconfig\.toml"
)
SUFFIX = r"(?:py|sql|lua|ya?ml|toml|json|md|txt)"
PATH = re.compile(rf"[\w<>.*-]+(?:/[\w<>.*-]+)*(?:\.{SUFFIX}|/)")
NAME = re.compile(r"[A-Za-z_][\w.]*(?:\(\))?")
FOREIGN = {
    # AWS's and Postgres's own, and words of HTTP
    *("BYPASSRLS", "set_config", "autovacuum", "WRONGPASS", "requests", "SET", "rds-db:connect"),
    *("register-db-proxy-targets", "DebugLogging", "SnapshotIdentifier", "PerformanceInsights"),
    *("DurableExecutionFailed", "DurableExecutionTimedOut", "grant", "where"),
    "ApproximateRunningDurableExecutionsUtilization",
    "DatabaseConnectionsCurrentlySessionPinned",
}


@cache
def files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    return [file for file in listed if file and (ROOT / file).is_file()]


@cache
def words() -> frozenset[str]:
    """Return every identifier in the sources."""
    texts = (
        (ROOT / file).read_text(errors="ignore")
        for file in files()
        if SOURCES.fullmatch(file)
        and "requirements" not in file
        and file != "tests/unit/test_docs.py"
    )
    return frozenset(
        word for text in texts for word in re.findall(r"[\w-]+|\w+", text)
    ) | frozenset(word for file in files() for word in re.findall(r"\w+", file))


@cache
def exists(path: str) -> bool:
    """Tell whether a file or folder ends with a path; `<room>` and `*` stand for any name."""
    pattern = re.sub(r"<\w+>", "*", path).rstrip("/")
    return any(
        fnmatch.fnmatch(candidate, pattern) or fnmatch.fnmatch(candidate, f"*/{pattern}")
        for file in files()
        for candidate in ((file,) if not path.endswith("/") else folders(file))
    )


def folders(file: str) -> Iterator[str]:
    parts = file.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


def spans(text: str) -> list[str]:
    """Return what is between backticks outside of blocks of code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def missing_names(document: str) -> Iterator[str]:
    for span in spans((ROOT / document).read_text()):
        if PATH.fullmatch(span):
            if not exists(span):
                yield span
        elif command := re.fullmatch(r"make ([\w-]+(?: [\w-]+)*)", span):
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            yield from (t for t in command[1].split() if t not in targets)
        elif NAME.fullmatch(span) and span not in FOREIGN:
            parts = span.removesuffix("()").split(".")
            if not {*parts} <= words():
                yield span


@pytest.mark.parametrize("document", CHECKED)
def test_every_file_and_name_that_a_document_mentions_exists(document: str) -> None:
    assert [*missing_names(document)] == []


def test_every_file_and_call_in_the_diagram_of_a_run_exists() -> None:
    [diagram] = re.findall(
        r"```mermaid\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL
    )
    calls = re.findall(r"\b([A-Za-z]+)\.(\w+)\b", diagram)
    assert calls
    assert [call for call in calls if not {*call} <= words()] == []
    queries = re.findall(r"\bruns/\w+", diagram)
    assert [query for query in queries if not exists(f"{query}.sql")] == []


@pytest.mark.parametrize("document", LINKED)
def test_every_link_leads_to_a_file_and_a_heading(document: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / document).read_text()):
        path, _, heading = target.partition("#")
        linked = (ROOT / document).parent / path if path else ROOT / document
        assert linked.exists(), target
        if heading:
            assert heading in headings(linked), target


def headings(document: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


def test_contributing_asks_ten_questions() -> None:
    asked = (ROOT / "CONTRIBUTING.md").read_text().partition("## Ten questions")[2]
    assert re.findall(r"^(\d+)\. .*\?$", asked, re.MULTILINE) == [str(n) for n in range(1, 11)]


DECISIONS = sorted(file for file in (ROOT / "docs/decisions").glob("[0-9]*.md"))


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(file.name[:4]) for file in DECISIONS] == [*range(1, len(DECISIONS) + 1)]


def test_every_decision_has_its_number_in_the_title_a_status_and_a_date() -> None:
    for file in DECISIONS:
        title, _, status, *_ = file.read_text().split("\n")
        assert title.startswith(f"# {int(file.name[:4])}. "), file.name
        assert re.match(r"(Accepted|Superseded), \d{4}-\d{2}-\d{2}\.", status), file.name


def test_the_index_of_decisions_is_what_the_files_say() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    rows = re.findall(
        r"^\| (\d+) \| \[(.+?)\]\((.+?)\) \| (\w+) \| ([\d-]+) \|$", index, re.MULTILINE
    )
    expected = []
    for file in DECISIONS:
        title, _, status, *_ = file.read_text().split("\n")
        number, _, name = title.removeprefix("# ").partition(". ")
        expected.append((number, name, file.name, *status.partition(".")[0].split(", ")))
    assert rows == expected


def test_references_to_decisions_lead_to_a_file() -> None:
    names = {file.name for file in DECISIONS}
    for file in files():
        if file.endswith((".py", ".md", ".sql", ".lua", ".yaml", ".toml", "Makefile")):
            text = (ROOT / file).read_text(errors="ignore")
            assert {
                *re.findall(r"(?<![\w/])(?:docs/)?decisions/(\d{4}[\w-]*\.md)", text)
            } <= names, file
            for number, name in re.findall(r"\[decision (\d+)\]\((?:\S*/)?(\d{4})-", text):
                assert int(number) == int(name), file
