"""The whole platform as `make run` starts it, for tests over HTTP."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.backends import dies_with_parent
from tests.contract.gateway_api import TEMPLATE, Clock, GatewayApi, MakeApi
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
KEY_A, KEY_B = "tenant-a-key", "tenant-b-key"


@dataclass(frozen=True)
class LocalStack:
    """A running `python -m local`."""

    url: str
    data: Path
    process: subprocess.Popen[str]
    said: str

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(with_signal)
        return self.process.wait(PATIENCE_SECONDS)

    def children(self) -> dict[int, str]:
        """Return the command line of each process that it has started and that still runs."""
        return {
            pid: command
            for pid, parent, command in processes()
            if parent == self.process.pid and command
        }

    def sandboxes(self, function: str) -> list[int]:
        """Return the process ids of a function's sandboxes, e.g. of `ToolsFunction`."""
        return [pid for pid, command in self.children().items() if f" {function} " in command]

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return output_file(self.data).read_text()

    @property
    def postgres_pid(self) -> int:
        return int((self.data / "postgres/postmaster.pid").read_text().split()[0])

    @property
    def redis_pid(self) -> int:
        [pid] = [pid for pid, command in self.children().items() if "redis.sock" in command]
        return pid

    @property
    def postgres_socket(self) -> str:
        """The host for psycopg."""
        return str(self.data / "sockets")

    @property
    def redis_socket(self) -> str:
        return str(self.data / "sockets/redis.sock")

    def log(self, function: str) -> str:
        """Return what a function has logged."""
        return (self.data / "logs" / f"{function}.log").read_text()


def processes() -> Iterator[tuple[int, int, str]]:
    """Yield process id, parent's id and command line of all processes."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        parent = stat.rpartition(")")[2].split()[1]
        yield int(folder.name), int(parent), command.replace(b"\0", b" ").decode(errors="replace")


@contextmanager
def ctrl_c_enabled() -> Iterator[None]:
    """Let new processes stop at SIGINT, even where this one was started to ignore it.

    A child inherits an ignored signal (from nohup, or a shell's `&`), but not a handler.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


StartStack = Callable[..., LocalStack]


def output_file(data: Path) -> Path:
    """Return where a platform's output goes; a pipe would fill up if nobody read it."""
    return data.with_name(f"{data.name}.log")


def start(data: Path, *options: str, **environment: str) -> LocalStack:
    """Start the platform on a free port and return when it answers."""
    log = output_file(data)
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *dies_with_parent(signal.SIGTERM),
                *(sys.executable, "-m", "local", "--port", "0", "--data", str(data), *options),
            ],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environment},
            stdout=output,
            stderr=output,
            text=True,
        )

    def welcome() -> str:
        said = log.read_text()
        assert process.poll() is None, f"the local run did not start: {said}"
        return said if "Ctrl-C" in said else ""

    said = until(welcome)
    [url] = re.findall(r"address +(\S+)", said)
    return LocalStack(url, data, process, said)


def finish(stack: LocalStack) -> None:
    if stack.process.poll() is None:
        stack.stop()


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The platform on a free port, with an empty data folder, for the whole session."""
    stack = start(tmp_path_factory.mktemp("local"))
    yield stack
    finish(stack)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A platform of a module's own, which its tests may break."""
    running = start(tmp_path_factory.mktemp("stack"))
    yield running
    finish(running)


@pytest.fixture(scope="session")
def base_url(local_stack: LocalStack) -> str:
    """Where that platform answers."""
    return local_stack.url


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Starts platforms of a test's own: `start_stack(*options, data=folder)`."""
    stacks = []

    def begin(*options: str, data: Path = tmp_path, **environment: str) -> LocalStack:
        stacks.append(start(data, *options, **environment))
        return stacks[-1]

    yield begin
    for stack in stacks:
        finish(stack)


@pytest.fixture(scope="module")
def make_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeApi]:
    """Makes small APIs on gateways of their own: `make_api(text, sandboxes)`."""
    apis = []

    def make(text: str = TEMPLATE, sandboxes: int = 2) -> GatewayApi:
        apis.append(GatewayApi(tmp_path_factory.mktemp("api"), text, sandboxes))
        return apis[-1]

    yield make
    for api in apis:
        api.close()


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> GatewayApi:
    """One of them, which a module's tests share."""
    return make_api()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the gateways in this process: it stands still until the test moves it."""
    clock = Clock()
    monkeypatch.setattr("local.gateway.time", clock)
    return clock
