"""Addresses and keys: from the environment, else from a file that only its owner can read."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

import typer

from map_cli.errors import NOT_LOGGED_IN, CommandError

DEFAULT = "default"


@dataclass(frozen=True)
class Login:
    """An address of the platform, and a key for it."""

    url: str
    key: str = field(repr=False)


def load(profile: str) -> Login:
    """Return the login in MAP_URL and MAP_API_KEY, else the one that `map login` has stored.

    A stored key is only sent to the address that it was stored with. Raises CommandError.
    """
    url, key = os.environ.get("MAP_URL"), os.environ.get("MAP_API_KEY")
    if url and key:
        return Login(url, key)
    stored = _read().get(profile)
    if not stored:
        message = "Not logged in" if profile == DEFAULT else f"No profile is called {profile}"
        raise CommandError(f"{message}: `{login_command(profile)}`", NOT_LOGGED_IN)
    if url and url.rstrip("/") != stored["url"]:
        raise CommandError(f"MAP_URL is {url}: set MAP_API_KEY to its key, too", NOT_LOGGED_IN)
    return Login(stored["url"], key or stored["key"])


def save(profile: str, login: Login) -> Path:
    """Store a login, and return the file that has it."""
    return _write(_read() | {profile: {"url": login.url, "key": login.key}})


def forget(profile: str) -> bool:
    """Remove a login; return whether there was one."""
    logins = _read()
    if found := logins.pop(profile, None):
        _write(logins)
    return bool(found)


def login_command(profile: str) -> str:
    """Return the command that creates a profile."""
    return "map login" if profile == DEFAULT else f"map login --profile {profile}"


def _file() -> Path:
    return Path(typer.get_app_dir("map")) / "profiles.json"


def _read() -> dict[str, dict[str, str]]:
    try:
        logins: dict[str, dict[str, str]] = json.loads(_file().read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{_file()} cannot be read ({error}): remove it and log in again"
        ) from error
    return logins


def _write(logins: dict[str, dict[str, str]]) -> Path:
    file = _file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Such a file has mode 0600 from its first byte, and keeps it when it replaces the old one.
        with NamedTemporaryFile("w", dir=file.parent, delete=False) as new_file:
            json.dump(logins, new_file, indent=2)
        Path(new_file.name).replace(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written ({error.strerror})") from error
    return file
