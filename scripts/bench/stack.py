"""A platform of the bench's own, as `make run` starts it, with durable writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from local import backends, template
from local.__main__ import PEPPERS
from local.pool import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stack:
    """A running platform, its functions as the template has them, and a folder for results."""

    port: int
    gateway: int
    sockets: Path
    folder: Path
    functions: dict[str, template.Function]

    def environment(self, function: str) -> dict[str, str]:
        """Return what a sandbox of this function is started with."""
        return environment(self.functions[function])

    def admin(self) -> psycopg.Connection:
        """Return the superuser's connection."""
        return psycopg.connect(host=str(self.sockets), user="postgres", dbname=backends.DATABASE)

    def cpu_seconds(self) -> float:
        """Return what the gateway and its sandboxes have used; Postgres and Redis not counted."""
        total = 0.0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            parent, user, system = int(fields[1]), int(fields[11]), int(fields[12])
            sandbox = parent == self.gateway and b"local.sandbox" in command
            if sandbox or int(folder.name) == self.gateway:
                total += (user + system) / TICKS
        return total


@contextmanager
def running() -> Iterator[Stack]:
    """Start a platform in a temporary folder; stop it and remove the folder at the end."""
    with tempfile.TemporaryDirectory(prefix="map-bench-") as name:
        folder = Path(name)
        process = subprocess.Popen(
            [sys.executable, "-m", "local", "--quiet", "--port", "0", "--data", str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            port = _port(process)
            sockets = folder / "sockets"
            yield Stack(port, process.pid, sockets, folder, _functions(sockets))
        finally:
            process.terminate()
            process.communicate()


def _port(process: subprocess.Popen[str]) -> int:
    said = []
    for line in process.stdout or ():
        said.append(line)
        if "Ctrl-C" in line:
            [port] = re.findall(r"address +http://.*:(\d+)", "".join(said))
            return int(port)
    raise SystemExit(f"the platform does not start:\n{''.join(said)}")


def _functions(sockets: Path) -> dict[str, template.Function]:
    parameters = {
        "Profile": "local",
        "DatabaseHost": str(sockets),
        "DatabaseName": backends.DATABASE,
        "RedisUrl": f"unix://{sockets}/redis.sock",
        "KeyPeppers": json.dumps(PEPPERS),
        "SecretsKey": (sockets.parent / "secrets.key").read_text(),
    }
    return template.load(ROOT / "template.yaml", parameters).functions
