"""README's workflow, run as it stands there."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.contract.conftest import StartStack

README = (Path(__file__).parents[2] / "README.md").read_text()
CHAPTERS = ("The complete workflow", "Agents that act")
DOCUMENTED = "http://127.0.0.1:8000"
STEP = re.compile(
    r"```bash\n(?P<command>curl [^`]*)```(\n\n```(?P<form>json|text)\n(?P<answer>.*?)```)?",
    re.DOTALL,
)
UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def compare(shown: Any, got: Any, ids: dict[str, str]) -> None:
    """Hold an answer against the one shown; ids and times may differ, ids alike everywhere."""
    if isinstance(shown, dict):
        assert list(shown) == list(got)
        for name in shown.keys() - {"duration_ms"}:  # no two are the same
            compare(shown[name], got[name], ids)
    elif isinstance(shown, list):
        assert len(shown) == len(got)
        for one, other in zip(shown, got, strict=True):
            compare(one, other, ids)
    elif isinstance(shown, str) and UUID.match(shown):
        assert UUID.match(got)
        assert ids.setdefault(shown, got) == got
    elif isinstance(shown, str) and TIME.match(shown):
        assert TIME.match(got)
    elif isinstance(shown, str) and shown.endswith("…"):
        assert got.startswith(shown.removesuffix("…"))
    else:
        assert shown == got


def follow(url: str, *chapters: str) -> None:
    """Run the commands of README's chapters against this address, and compare the answers."""
    ids: dict[str, str] = {}
    for chapter in chapters:
        for step in STEP.finditer(README.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]):
            command = step["command"].replace(DOCUMENTED, url)
            for shown, real in ids.items():
                command = command.replace(shown, real)
            ran = subprocess.run(
                ["bash", "-c", command], capture_output=True, check=True, timeout=30
            )
            answer = ran.stdout.decode()
            match step["form"]:
                case "json":
                    compare(json.loads(step["answer"]), json.loads(answer), ids)
                case "text":
                    for shown, real in ids.items():
                        answer = answer.replace(real, shown)
                    compare(_lines(step["answer"]), _lines(answer), ids)
                case _:
                    assert "error_code" not in answer


def _lines(text: str) -> list[str]:
    """Return the lines of an event stream, without those that are for the client's machinery."""
    return [line for line in text.splitlines() if line and not line.startswith("retry:")]


def test_the_commands_answer_as_shown(start_stack: StartStack) -> None:
    assert len(STEP.findall(README)) == 10
    follow(start_stack().url, *CHAPTERS)  # of its own: the workflow is a new user's


def test_every_endpoint_of_the_document_is_in_the_table() -> None:
    document = json.loads((Path(__file__).parents[2] / "functions/system/openapi.json").read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"`{method.upper()} {path}`" in README
            scopes = [s for needed in operation.get("security", []) for s in needed["ApiKey"]]
            row = next(line for line in README.splitlines() if f"`{method.upper()} {path}`" in line)
            assert all(f"`{scope}`" in row for scope in scopes)


def test_every_make_command_exists() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_linked_file_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[2] / link).exists(), link
