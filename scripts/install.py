"""Installs a lock file with pip and shows one line of progress, or pip's own words if it fails.

    python scripts/install.py requirements/run.txt

It runs before anything is installed, so it uses the standard library alone.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar=off"]
PINNED = re.compile(r"^[\w.\[\], -]+==", re.MULTILINE)
SEEN = re.compile(r"^(?:Collecting|Requirement already satisfied:) ([\w.\[\],-]+==[^\s;]+)")
KEPT_LINES = 30


def main() -> int:
    """Install; return pip's exit code."""
    [file] = sys.argv[1:]
    total, seen, started = len(PINNED.findall(Path(file).read_text())), 0, time.monotonic()
    printed: list[str] = []
    with subprocess.Popen(
        [*PIP, "--no-deps", "--require-hashes", "-r", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pip:
        for line in pip.stdout or ():
            printed.append(line)
            if package := SEEN.match(line):
                seen += 1
                show(f"Installing {file}, once: {seen} of {total}, {package[1]}")
            elif line.startswith("Installing collected packages"):
                show(f"Installing {file}, once: unpacking")
    show("")
    if pip.returncode:
        print(f"pip cannot install {file}:\n{''.join(printed[-KEPT_LINES:])}")
    else:
        print(f"Installed {file} in {time.monotonic() - started:.0f} s")
    return pip.returncode


def show(text: str) -> None:
    """Replace the line of progress, where there is a terminal to show one."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
