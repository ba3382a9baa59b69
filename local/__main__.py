"""`make run`: the whole platform on this machine, from `template.yaml`.

It starts the servers, migrates the database, and serves until Ctrl-C. What stops it from starting
is one line that says what to do. docs/decisions/0002-local-gateway.md has the reasons.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import fcntl
import json
import os
import secrets
import signal
import sys
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import watchfiles

from local import backends, template
from local.gateway import Gateway
from local.lambda_api import LambdaApi
from local.pool import CORES, ROOT, FunctionError
from local.server import Server, listen
from local.terminal import LogFollower, Painter, is_error

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from local.proxy import Request

MIGRATE = "MigrateFunction"
MIGRATION_ERRORS = {"MigrationError", "NewerDatabaseError"}
SANDBOXES = max(8, CORES)
PEPPERS = {"1": "local-only-pepper"}
TEMPLATE = ROOT / "template.yaml"
WATCHED = ("functions", "layers/shared", "sql", "lua")
WELCOME = """
The Mini Agent Platform is running.

  address  {url}
  docs     {url}/docs
  keys     tenant-a-key and tenant-b-key, one of each tenant
  data     {data}
  cache    {cache}

Try:
  curl -s {url}/api/v1/tools -H 'X-API-KEY: tenant-a-key'

In a second terminal, `make demo` walks through the workflow and `make logs` follows the logs of
the functions. Ctrl-C stops everything.
"""


class StartError(Exception):
    """The local run cannot start; the message is one line that says why and what to do."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code."""
    options = _options()
    data: Path = options.data.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            _lock(data),
            _listener(options.port) as listener,
            _start(backends.postgres(data / "postgres")) as database,
            _start(backends.redis(data / "redis")) as cache,
            listen(0) as functions,
            _start(backends.durable(data / "durable.db", _url(functions))) as durable,
        ):
            backends.create_database(database)
            _write_private(data / "lambda-url", _url(functions))
            run = LocalRun(options, data, (listener, functions), (database, cache, durable))
            asyncio.run(run.serve())
    except (StartError, backends.BackendError, template.TemplateError) as error:
        _say(f"make run: {error}")
        return 1
    except OSError as error:
        _say(f"make run: {error.filename}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


class LocalRun:
    """The gateway and Lambda's API, beside running servers."""

    def __init__(
        self,
        options: argparse.Namespace,
        data: Path,
        listeners: tuple[socket.socket, socket.socket],
        servers: tuple[backends.Server, backends.Server, backends.Server],
    ) -> None:
        self.options, self.data, self.listeners, self.servers = options, data, listeners, servers
        database, cache, self.durable = servers
        self.parameters = {
            "Profile": "local",
            "DatabaseHost": database.socket,
            "DatabaseName": backends.DATABASE,
            "RedisUrl": f"unix://{cache.socket}",
            "KeyPeppers": json.dumps(PEPPERS),
            "Providers": json.dumps(_providers()),
            "SecretsKey": _secrets_key(data / "secrets.key"),
            "PlainHttp": "true",
            "Background": "true",
        }
        logs = data / "logs"
        logs.mkdir(exist_ok=True)
        self.painter, self.follower = Painter(), LogFollower(logs)
        report = None if options.quiet else self._report
        self.gateway = Gateway(
            self._template(), options.sandboxes, logs, _url(listeners[1]), report
        )
        self.server = Server(self.gateway)
        self.functions = Server(LambdaApi(self.gateway, self.durable.socket))

    async def serve(self) -> None:
        """Migrate the database, then serve until a signal. Raises StartError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        try:
            await self._migrate()
            self.follower.read()
            api, functions = self.listeners
            calls = asyncio.create_task(self.functions.serve([functions]))
            _say(WELCOME.format(url=_url(api), data=self.data, cache=backends.redis_version()))
            tasks = [asyncio.create_task(task) for task in self._background_tasks()]
            await self.server.serve([api])
            for task in tasks:
                task.cancel()
            self.durable.stop()  # first, or it would count the others' end as a failed attempt
            self.functions.should_exit = True
            await calls
        finally:
            self.gateway.close()
        _say("Stopped.")

    def _background_tasks(self) -> Iterator[Coroutine[None, None, None]]:
        yield from (self._restart(server) for server in self.servers)
        yield self.gateway.run_schedules()
        yield self._print_errors()
        if self.options.warm:
            yield self.gateway.warm()
        if self.options.reload:
            yield from (self._reload(changes) for changes in _watches())

    def _stop(self) -> None:
        self.server.should_exit = True

    def _template(self) -> template.Template:
        return template.load(TEMPLATE, self.parameters)

    def _report(self, request: Request, status: int) -> None:
        _say(self.painter.request(request, status))

    async def _print_errors(self) -> None:
        """Print the errors and tracebacks that functions log, and what they print."""
        while True:
            await asyncio.sleep(0.2)
            for function, line in self.follower.read():
                if is_error(line):
                    _say(self.painter.log_line(function, line))

    async def _migrate(self) -> None:
        pool = self.gateway.pools[MIGRATE]
        try:
            await pool.invoke(b"{}", "migrate")
        except FunctionError as error:
            reason = " ".join(error.error_message.split()) or str(error)
            if error.error_type in MIGRATION_ERRORS:
                reason = reason.partition("; ")[0]  # the rest is what to do on AWS
            raise StartError(
                f"the database cannot be migrated: {reason}. If another branch made this database, "
                "`make reset` starts with an empty one and keeps a copy"
            ) from error
        finally:
            pool.close()

    async def _restart(self, server: backends.Server) -> None:
        """Start a server again whenever it dies."""
        while True:
            await asyncio.sleep(0.1)
            if not server.is_running:
                _say(f"{server.name} died; it is started again")
                try:
                    await asyncio.to_thread(server.start)
                except backends.BackendError as error:
                    _say(str(error))

    async def _reload(self, changes: AsyncIterator[set[watchfiles.main.FileChange]]) -> None:
        async for change in changes:
            try:
                self.gateway.load(self._template())
                await self._migrate()
            except (StartError, template.TemplateError) as error:
                _say(str(error))
            else:
                names = sorted({Path(path).name for _, path in change})
                _say(f"reloaded after a change of {', '.join(names)}")
                await self.gateway.warm()


def _url(listener: socket.socket) -> str:
    return "http://{}:{}".format(*listener.getsockname())


def _providers() -> dict[str, dict[str, str]]:
    """Return the model providers that have a key or an address in the environment."""
    found = {}
    for provider in ("openai", "anthropic"):
        named = {name: f"{provider}_{name}".upper() for name in ("api_key", "base_url")}
        settings = {name: os.environ[key] for name, key in named.items() if os.environ.get(key)}
        if settings:
            found[provider] = {"api_key": "none", **settings}  # some servers ask for no key
    return found


def _secrets_key(file: Path) -> str:
    """Return the key that encrypts the tenants' secrets here; the first start makes it."""
    if not file.exists():
        _write_private(file, f"local:{urlsafe_b64encode(secrets.token_bytes(32)).decode()}")
    return file.read_text()


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    file.touch(mode=0o600)
    file.write_text(text)


def _watches() -> list[AsyncIterator[set[watchfiles.main.FileChange]]]:
    """Return the changes of the code and those of the template, as they happen.

    The template is watched by its folder, because editors replace files.
    """
    return [
        watchfiles.awatch(*(ROOT / folder for folder in WATCHED)),
        watchfiles.awatch(
            ROOT, recursive=False, watch_filter=lambda _, path: Path(path) == TEMPLATE
        ),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="0 for any free port")
    parser.add_argument("--data", type=Path, default=ROOT / ".data", help="folder of all data")
    parser.add_argument("--reload", action="store_true", help="pick up changes of the code")
    parser.add_argument("--warm", action="store_true", help="start a sandbox of each function")
    parser.add_argument("--quiet", action="store_true", help="print no line for each request")
    parser.add_argument(
        "--sandboxes", type=int, default=SANDBOXES, help="the most processes of a function"
    )
    return parser.parse_args()


@contextmanager
def _lock(data: Path) -> Iterator[None]:
    """Hold the data folder's lock, so that no other run uses it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("a+")
    except OSError as error:
        raise StartError(
            f"cannot use {data} ({error.strerror}): choose another folder with DATA=..."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StartError(
                f"{data} is in use by another run (process {lock.read()}): "
                "stop that, or choose another folder with DATA=..."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    try:
        listener = listen(port)
    except (OSError, OverflowError) as error:
        is_in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "in use" if is_in_use else str(error)
        raise StartError(
            f"port {port} cannot be used ({reason}): choose another with PORT=..."
        ) from error
    with listener:
        yield listener


@contextmanager
def _start(server: backends.Server) -> Iterator[backends.Server]:
    _say(f"Starting {server.name} ...")
    with server:
        yield server


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
