"""Addresses and keys: from the environment, else from a file for the owner's eyes alone."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

import typer

from map_cli.problem import NOT_LOGGED_IN, Problem

DEFAULT = "default"


@dataclass(frozen=True)
class Login:
    """Where the platform answers, and the key for it."""

    url: str
    key: str = field(repr=False)


def load(profile: str) -> Login:
    """Return what MAP_URL and MAP_API_KEY say, else what `map login` has kept; raises Problem.

    A kept key goes to the address that it was kept with and nowhere else.
    """
    url, key = os.environ.get("MAP_URL"), os.environ.get("MAP_API_KEY")
    if url and key:
        return Login(url, key)
    kept = _read().get(profile)
    if not kept:
        told = "Not logged in" if profile == DEFAULT else f"No profile is called {profile}"
        raise Problem(f"{told}: `{login_command(profile)}`", NOT_LOGGED_IN)
    if url and url.rstrip("/") != kept["url"]:
        raise Problem(f"MAP_URL is {url}: say its key in MAP_API_KEY, too", NOT_LOGGED_IN)
    return Login(kept["url"], key or kept["key"])


def save(profile: str, login: Login) -> Path:
    """Keep a login for later, and return the file that it is in."""
    return _write(_read() | {profile: {"url": login.url, "key": login.key}})


def forget(profile: str) -> bool:
    """Forget a login; return whether there was one."""
    logins = _read()
    if found := logins.pop(profile, None):
        _write(logins)
    return bool(found)


def login_command(profile: str) -> str:
    """Return the command that makes a profile."""
    return "map login" if profile == DEFAULT else f"map login --profile {profile}"


def _file() -> Path:
    return Path(typer.get_app_dir("map")) / "profiles.json"


def _read() -> dict[str, dict[str, str]]:
    try:
        logins: dict[str, dict[str, str]] = json.loads(_file().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Problem(f"{_file()} cannot be read ({error}): remove it and log in again") from error
    return logins


def _write(logins: dict[str, dict[str, str]]) -> Path:
    file = _file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Such a file has mode 0600 from its first byte; taking the old one's place, also later.
        with NamedTemporaryFile("w", dir=file.parent, delete=False) as made:
            json.dump(logins, made, indent=2)
        Path(made.name).replace(file)
    except OSError as error:
        raise Problem(f"{file} cannot be written ({error.strerror})") from error
    return file
