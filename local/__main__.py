"""`make run`: the whole platform on this machine, from `template.yaml`."""

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
from local.pool import ROOT, FunctionError
from local.server import Server, listen

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator

MIGRATE = "MigrateFunction"
PEPPERS = {"1": "local-only-pepper"}
TEMPLATE = ROOT / "template.yaml"
WATCHED = ("functions", "layers/shared", "sql", "lua")
WELCOME = """
Mini Agent Platform runs.

  address  {url}
  docs     {url}/docs
  keys     tenant-a-key and tenant-b-key, each of a tenant of its own
  data     {data}
  logs     {data}/logs

Try:
  curl -s {url}/api/v1/tools -H 'X-API-KEY: tenant-a-key'

`make demo`, in a second terminal, walks through the workflow. Ctrl-C stops everything.
"""


class Problem(Exception):
    """The local run cannot start; the message is one line that says what to do."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code."""
    options = _options()
    data: Path = options.data.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            _claimed(data),
            _listener(options.port) as listener,
            _started(backends.postgres(data / "postgres")) as database,
            _started(backends.redis(data / "redis")) as cache,
            listen(0) as functions,
            _started(backends.durable(data / "durable.db", _url(functions))) as durable,
        ):
            backends.create_database(database)
            _keep(data / "lambda-url", _url(functions))
            run = _Run(options, data, (listener, functions), (database, cache, durable))
            asyncio.run(run.serve())
    except (Problem, backends.BackendError, template.TemplateError) as problem:
        _say(f"make run: {problem}")
        return 1
    except OSError as error:
        _say(f"make run: {error.filename}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


class _Run:
    """What runs once the servers are there."""

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
        self.gateway = Gateway(self._template(), options.sandboxes, logs, _url(listeners[1]))
        self.server = Server(self.gateway)
        self.functions = Server(LambdaApi(self.gateway, self.durable.socket))

    async def serve(self) -> None:
        """Migrate, then serve until a signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        try:
            await self._migrate()
            tasks = [asyncio.create_task(self._revive(server)) for server in self.servers]
            tasks.append(asyncio.create_task(self.gateway.keep_time()))
            if self.options.reload:
                tasks += [asyncio.create_task(self._reload(watch)) for watch in _watches()]
            api, functions = self.listeners
            calls = asyncio.create_task(self.functions.serve([functions]))
            _say(WELCOME.format(url=_url(api), data=self.data))
            await self.server.serve([api])
            for task in tasks:
                task.cancel()
            self.durable.stop()  # first, or it would count the others' end as a failed try
            self.functions.should_exit = True
            await calls
        finally:
            self.gateway.close()
        _say("Stopped.")

    def _stop(self) -> None:
        self.server.should_exit = True

    def _template(self) -> template.Template:
        return template.load(TEMPLATE, self.parameters)

    async def _migrate(self) -> None:
        pool = self.gateway.pools[MIGRATE]
        try:
            await pool.invoke(b"{}", "migrate")
        except FunctionError as error:
            reason = " ".join(error.told.split()) or str(error)
            raise Problem(f"the database is not migrated: {reason}") from error
        finally:
            pool.close()

    async def _revive(self, server: backends.Server) -> None:
        while True:
            await asyncio.sleep(0.1)
            if not server.is_running:
                _say(f"{server.name} died and is started again")
                try:
                    await asyncio.to_thread(server.start)
                except backends.BackendError as error:
                    _say(str(error))

    async def _reload(self, watch: AsyncIterator[set[watchfiles.main.FileChange]]) -> None:
        async for changes in watch:
            try:
                self.gateway.load(self._template())
                await self._migrate()
            except (Problem, template.TemplateError) as problem:
                _say(str(problem))
            else:
                names = sorted({Path(path).name for _, path in changes})
                _say(f"reloaded after a change of {', '.join(names)}")


def _url(listener: socket.socket) -> str:
    return "http://{}:{}".format(*listener.getsockname())


def _providers() -> dict[str, dict[str, str]]:
    """Return the model providers whose keys are in the environment, under their own names."""
    found = {}
    for provider in ("openai", "anthropic"):
        named = {name: f"{provider}_{name}".upper() for name in ("api_key", "base_url")}
        settings = {name: os.environ[key] for name, key in named.items() if os.environ.get(key)}
        if settings:
            found[provider] = {"api_key": "none", **settings}  # some servers ask for no key
    return found


def _secrets_key(file: Path) -> str:
    """Return what seals the tenants' secrets here; made at the first start."""
    if not file.exists():
        _keep(file, f"local:{urlsafe_b64encode(secrets.token_bytes(32)).decode()}")
    return file.read_text()


def _keep(file: Path, text: str) -> None:
    """Write a file for the owner alone."""
    file.touch(mode=0o600)
    file.write_text(text)


def _watches() -> list[AsyncIterator[set[watchfiles.main.FileChange]]]:
    """Return what tells of changes; of the template by its folder, since editors replace files."""
    return [
        watchfiles.awatch(*(ROOT / folder for folder in WATCHED)),
        watchfiles.awatch(
            ROOT, recursive=False, watch_filter=lambda _, path: Path(path) == TEMPLATE
        ),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--data", type=Path, default=ROOT / ".data", help="folder for all data")
    parser.add_argument("--reload", action="store_true", help="pick code changes up")
    parser.add_argument("--sandboxes", type=int, default=8, help="at most so many a function")
    return parser.parse_args()


@contextmanager
def _claimed(data: Path) -> Iterator[None]:
    """Hold the data folder, so that no other run uses it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("a+")
    except OSError as error:
        raise Problem(
            f"cannot use {data} ({error.strerror}): choose another folder with DATA=..."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Problem(
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
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "in use" if taken else str(error)
        raise Problem(
            f"port {port} cannot be used ({reason}): choose another with PORT=..."
        ) from error
    with listener:
        yield listener


@contextmanager
def _started(server: backends.Server) -> Iterator[backends.Server]:
    _say(f"{server.name} starts ...")
    with server:
        yield server


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
