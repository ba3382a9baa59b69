"""Logging in and out."""

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from map_cli import config, output
from map_cli.client import Client
from map_cli.config import Login
from map_cli.options import ProfileName, ask_secret
from map_cli.problem import Problem

LOCAL = "http://127.0.0.1:8000"
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def login(
    url: Annotated[
        str | None, typer.Option(help="Where the platform answers; asked for if left out")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Asked for, or read from stdin, if left out")
    ] = None,
    profile: ProfileName = config.DEFAULT,
) -> None:
    """Check a key against the platform and keep it for the commands to come."""
    if url is None:
        asked = sys.stdin.isatty()
        url = typer.prompt("Where the platform answers", LOCAL, err=True) if asked else LOCAL
    given = Login(url.rstrip("/"), key or ask_secret("API key"))
    with Client(given, profile) as api:
        try:
            api.ask("GET", "tools", limit=1)
        except Problem as problem:
            if "(INSUFFICIENT_SCOPE)" not in str(problem):  # that one is known, too
                raise
    shown = str(config.save(profile, given)).replace(str(Path.home()), "~", 1)
    where = urlsplit(given.url)
    if where.scheme == "http" and where.hostname not in LOOPBACK:
        output.note("This address has no https: whoever is on the way can read the key")
    output.say(f"Logged in to {given.url}; the key is kept in {shown}")


def logout(profile: ProfileName = config.DEFAULT) -> None:
    """Forget a key that was kept. It stays valid: `map keys revoke` ends one."""
    if not config.forget(profile):
        raise Problem(f"There was no login of the profile {profile}")
    output.say("Logged out")
