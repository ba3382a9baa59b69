"""`make logs`: follows the logs of all functions of a `make run` in readable form."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from local.pool import ROOT
from local.terminal import LogFollower, Painter

PAUSE_SECONDS = 0.2


def main() -> int:
    """Follow; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.logs", description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / ".data", help="folder of all data")
    parser.add_argument("--lines", type=int, default=10, help="older lines of each function")
    options = parser.parse_args()
    folder = options.data / "logs"
    if not folder.is_dir():
        print(f"There are no logs in {folder}: start `make run`, or name its folder with DATA=...")
        return 1
    painter, follower = Painter(), LogFollower(folder, options.lines)
    try:
        while True:
            for function, line in follower.read():
                print(painter.log_line(function, line), flush=True)
            time.sleep(PAUSE_SECONDS)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
