"""README's workflow, pasted into one shell as it stands there."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.contract.conftest import ROOT, StartStack
from tests.fakes import Behaviour, FakeAnthropic, call, say

README = (ROOT / "README.md").read_text()
CHAPTERS = ("The complete workflow", "Agents that act")
ADDRESS, TOOL_PORT = "http://127.0.0.1:8000", "9000"
"""Where README says that the platform and the sample tool are."""
STEP = re.compile(
    r"```bash\n(?P<command>[^`]*)```(\n\n```(?P<form>json|text)\n(?P<shown>.*?)```)?", re.DOTALL
)
BETWEEN = "--- the next step ---"
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


def paste(steps: list[re.Match[str]], url: str) -> list[str]:
    """Run all commands in one shell; return what each shows at the terminal."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    pasted = f"echo\necho '{BETWEEN}'\n".join(step["command"] for step in steps)
    ran = subprocess.run(
        ["bash"],
        input=pasted.replace(ADDRESS, url).replace(TOOL_PORT, port),
        cwd=ROOT,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=120,
    )
    return ran.stdout.replace(port, TOOL_PORT).split(BETWEEN)


def model(body: dict[str, Any]) -> Behaviour:
    """Ask for the tool, then repeat its result."""
    if "headlines" in (result := json.dumps(body["messages"][-1]["content"])):
        return say(f"The news: {result}")
    return call(body["tools"][0]["name"], {"query": "agents"})


def _lines(text: str, ids: dict[str, str]) -> list[str]:
    """Return an event stream's lines with other ids, without comments and reconnection times."""
    for documented, real in ids.items():
        text = text.replace(documented, real)
    return [line for line in text.splitlines() if line and not line.startswith(("retry:", ":"))]


def follow(url: str, *chapters: str) -> None:
    """Paste the commands of README's chapters, and hold what they show against README."""
    text = [README.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0] for chapter in chapters]
    steps = [*STEP.finditer("\n".join(text))]
    ids: dict[str, str] = {}
    for step, output in zip(steps, paste(steps, url), strict=True):
        match step["form"]:
            case "json":
                compare(json.loads(step["shown"]), json.loads(output), ids)
            case "text":
                compare(_lines(step["shown"], ids), _lines(output, {}), {})
            case _:
                assert not output.strip()


def test_the_commands_can_be_pasted_and_answer_as_shown(start_stack: StartStack) -> None:
    assert len(STEP.findall(README)) == 13
    with FakeAnthropic(model) as provider:  # OpenAI's models stay a mock
        stack = start_stack(ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=provider.url)
        follow(stack.url, *CHAPTERS)


def test_every_endpoint_of_the_document_is_in_the_table() -> None:
    document = json.loads((ROOT / "functions/system/openapi.json").read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"`{method.upper()} {path}`" in README
            scopes = [s for needed in operation.get("security", []) for s in needed["ApiKey"]]
            row = next(line for line in README.splitlines() if f"`{method.upper()} {path}`" in line)
            assert all(f"`{scope}`" in row for scope in scopes)


def test_every_make_command_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_linked_file_exists() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
