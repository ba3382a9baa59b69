"""The command line against a whole platform, as `make run` starts it, and against what is none."""

import functools
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer import testing
from typer.main import get_command
from typer.testing import CliRunner, Result

from map_cli.main import app
from tests.contract.conftest import ROOT, LocalStack, ctrl_c_enabled, finish, start
from tests.contract.tenants import add_tenant
from tests.contract.upstreams import Upstreams
from tests.integration.web import Answers, Web


@dataclass(frozen=True)
class Platform:
    """A platform, and the services that its runs call: each run calls the tool `look` once."""

    stack: LocalStack
    upstreams: Upstreams

    def new_key(self, **options: Any) -> str:
        """Return the key of a tenant of its own."""
        [key] = add_tenant(self.stack, **options)
        return key


@dataclass
class Map:
    """Somebody at a terminal: each call is a command; none of them may tell a key."""

    home: Path
    url: str = ""
    key: str = ""
    env: dict[str, str | None] = field(default_factory=dict)

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> Result:
        """Run `map` with these words; hold its exit code against what was expected."""
        result = CliRunner(env=self._env()).invoke(
            app, words, input=stdin, catch_exceptions=False, prog_name="map"
        )
        assert result.exit_code == code, result.output
        assert not self.key or self.key not in result.output
        return result

    def json(self, *words: str, **options: Any) -> Any:
        """Run a command with --json and return the one document that it answers."""
        return _document(self(*words, "--json", **options).stdout)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start `map` as a process of its own, as a terminal would."""
        env = {name: value for name, value in self._env().items() if value is not None}
        with ctrl_c_enabled():
            return subprocess.Popen(
                [sys.executable, "-m", "map_cli", *words],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "cli"), **env},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def _env(self) -> dict[str, str | None]:
        return {
            "XDG_CONFIG_HOME": str(self.home),
            "MAP_URL": self.url or None,
            "MAP_API_KEY": self.key or None,
            "COLUMNS": None,
        } | self.env

    def config(self) -> dict[str, Any]:
        """Return what is kept, by nobody but its owner to be read."""
        [file] = [path for path in self.home.rglob("*") if path.is_file()]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        kept: dict[str, Any] = _document(file.read_text())
        return kept


def _document(text: str) -> Any:
    import json  # noqa: PLC0415 - the module has a method of this name

    return json.loads(text)


@pytest.fixture(scope="package", autouse=True)
def built_once() -> Iterator[None]:
    """Typer's runner would build all commands anew for each call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_get_command", functools.cache(get_command))
        yield


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One for all commands; whoever asks it brings a tenant."""
    with Upstreams(("look",)) as upstreams:
        stack = start(
            tmp_path_factory.mktemp("cli"),
            OPENAI_API_KEY="sk-none",
            OPENAI_BASE_URL=f"{upstreams.model.url}/v1",
        )
        yield Platform(stack, upstreams)
        finish(stack)


@pytest.fixture
def nobody(tmp_path: Path) -> Map:
    """Somebody who is not logged in."""
    return Map(tmp_path / "home")


@pytest.fixture
def user(platform: Platform, tmp_path: Path) -> Map:
    """Somebody of a new tenant, who has its key in the environment."""
    return Map(tmp_path / "home", platform.stack.url, platform.new_key())


@pytest.fixture
def answering(nobody: Map) -> Iterator[Callable[[Answers], Map]]:
    """Somebody whose platform answers what a test says."""
    with Web() as web:

        def say(answers: Answers) -> Map:
            web.answers = answers
            nobody.url, nobody.key = web.url, "a-key"
            return nobody

        yield say
