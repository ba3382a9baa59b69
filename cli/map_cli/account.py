"""Logging in and out."""

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from map_cli import config, output
from map_cli.client import Client
from map_cli.config import Login
from map_cli.errors import CommandError
from map_cli.options import ProfileName, ask_secret

LOCAL = "http://127.0.0.1:8000"
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def login(
    url: Annotated[
        str | None, typer.Option(help="Address of the platform; asked for if left out")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="API key; asked for, or read from stdin, if left out")
    ] = None,
    profile: ProfileName = config.DEFAULT,
) -> None:
    """Check a key with the platform and store it for later commands."""
    if url is None:
        is_terminal = sys.stdin.isatty()
        url = typer.prompt("Address of the platform", LOCAL, err=True) if is_terminal else LOCAL
    new_login = Login(url.rstrip("/"), key or ask_secret("API key"))
    with Client(new_login, profile) as api:
        try:
            api.call("GET", "tools", limit=1)
        except CommandError as error:
            if "(INSUFFICIENT_SCOPE)" not in str(error):  # the platform knows such a key, too
                raise
    shown = str(config.save(profile, new_login)).replace(str(Path.home()), "~", 1)
    where = urlsplit(new_login.url)
    if where.scheme == "http" and where.hostname not in LOOPBACK:
        output.note("This address is not https: anyone on the network path can read the key")
    output.write_text(f"Logged in to {new_login.url}; the key is stored in {shown}")


def logout(profile: ProfileName = config.DEFAULT) -> None:
    """Remove a stored key. It stays valid; `map keys revoke` ends it."""
    if not config.forget(profile):
        raise CommandError(f"The profile {profile} is not logged in, so nothing was removed")
    output.write_text("Logged out")
