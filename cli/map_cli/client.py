"""The platform's HTTP API, as commands call it."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import httpx
from httpx_sse import ServerSentEvent, connect_sse

from map_cli import config, output
from map_cli.config import Login
from map_cli.problem import AWAY, NOT_LOGGED_IN, REFUSED, Problem

PATIENCE = httpx.Timeout(35, connect=5)  # API Gateway gives up after 29
LONGEST_WAIT = 60
MOST_TRIES = 3
MOST_LOST = 6
"""How often in a row a run's events may fail to come."""
LARGEST_PAGE = 100


class Client:
    """Calls as the owner of a key. Every failure is a Problem."""

    def __init__(self, login: Login, profile: str = config.DEFAULT) -> None:
        parts = urlsplit(login.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Problem(f"{login.url} is no address such as https://api.example.com")
        if not login.key.isascii() or not login.key.isprintable():
            raise Problem("A key is plain text: this one is not", NOT_LOGGED_IN)
        self.url, self.profile = login.url.rstrip("/"), profile
        headers = {"X-API-KEY": login.key}
        try:
            self._http = httpx.Client(
                base_url=f"{self.url}/api/v1/", headers=headers, timeout=PATIENCE
            )
        except httpx.InvalidURL as error:
            raise Problem(f"{login.url} is no address: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(
        self,
        method: str,
        *path: object,
        body: object = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Any:
        """Return the JSON that the API answers, None where it says nothing."""
        response = self.send(method, *path, body=body, headers=headers, **query)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise self._stranger(response) from error

    def send(
        self,
        method: str,
        *path: object,
        body: object = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """Return the API's answer, after a short wait where it asks for one.

        A request with an Idempotency-Key is sent again also where no answer came.
        """
        url = "/".join(quote(str(part), safe="") for part in path)
        given = {name: _plain(value) for name, value in query.items() if value is not None}
        repeatable = "Idempotency-Key" in (headers or {})
        for left in reversed(range(MOST_TRIES)):
            try:
                response = self._http.request(method, url, json=body, headers=headers, params=given)
            except httpx.RequestError as error:
                if not (repeatable and left):
                    raise self._unreachable(error) from error
                continue
            if not (left and (pause := _pause(response, repeatable=repeatable))):
                break
            output.note(f"{_message(response)}: trying again in {pause} s")
            time.sleep(pause)
        self._check(response)
        return response

    def page(self, *path: object, limit: int, everything: bool, **query: Any) -> Any:
        """Return a page of a list; with `everything`, all pages as one."""
        limit = LARGEST_PAGE if everything else limit
        page = self.ask("GET", *path, limit=limit, **query)
        while everything and page["has_more"]:
            more = self.ask("GET", *path, limit=limit, cursor=page["next_cursor"], **query)
            page = more | {"items": page["items"] + more["items"]}
        return page

    def id_of(self, *collection: str, name: str) -> str:
        """Return the id of what is called by its name; an id stays as it is."""
        with suppress(ValueError):
            return str(UUID(name))
        found = self.ask("GET", *collection, name=name, limit=2)["items"]
        if len(found) == 1:
            return str(found[0]["id"])
        [*_, kind] = collection
        told = "Several" if found else "None"
        raise Problem(f"{told} of the {kind} is called {name}: `map {' '.join(collection)} list`")

    def follow(self, execution: object) -> Iterator[ServerSentEvent]:
        """Yield the events of a run as they come, until it is over.

        As the standard has it: whenever an answer ends, or breaks off, the next request goes out
        after the pause that the platform asked for, with the id of the last event seen, until that
        is the last of all, or 204 says so. An answer without events has waited in vain.
        """
        seen: dict[str, str] = {}
        pause, lost = 3.0, 0
        while True:
            wait = 0
            try:
                with connect_sse(
                    self._http, "GET", f"executions/{execution}/events", headers={**seen}
                ) as source:
                    response = source.response
                    if response.is_success:
                        lost = 0
                        if response.status_code == httpx.codes.NO_CONTENT:
                            return
                        for event in source.iter_sse():
                            pause = pause if event.retry is None else event.retry / 1000
                            seen = {"Last-Event-ID": event.id} if event.id else seen
                            if event.data:
                                yield event
                            if event.event == "run_finished":
                                return
                    else:
                        response.read()
                        problem = self._refusal(response)
                        wait = _pause(response, repeatable=True)
                        if not wait and problem.exit_code != AWAY:
                            raise problem
                        lost = _count(lost, problem)
            except httpx.RequestError as error:
                lost = _count(lost, self._unreachable(error))
            time.sleep(max(pause, lost, wait))

    def _check(self, response: httpx.Response) -> None:
        if not response.is_success:
            raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> Problem:
        status = response.status_code
        code = _told(response).get("error_code", "")
        exit_code = REFUSED
        if status == httpx.codes.UNAUTHORIZED:
            exit_code = NOT_LOGGED_IN
        elif status >= httpx.codes.INTERNAL_SERVER_ERROR and code != "MODEL_PROVIDER_FAILED":
            exit_code = AWAY
        if not code:
            return self._stranger(response, exit_code)
        lines = [f"{_message(response)} ({code})"]
        if exit_code == NOT_LOGGED_IN:
            lines.append(f"Log in with another key: `{config.login_command(self.profile)}`")
        elif details := _details(_told(response).get("details", {})):
            lines.append(details)
        return Problem("\n".join(lines), exit_code)

    def _stranger(self, response: httpx.Response, exit_code: int = REFUSED) -> Problem:
        told = f"{self.url} answered {response.status_code}, and not as the platform does"
        return Problem(f"{told}: is that its URL?", exit_code)

    def _unreachable(self, error: Exception) -> Problem:
        return Problem(f"{self.url} cannot be reached: {error or type(error).__name__}", AWAY)


def once() -> dict[str, str]:
    """Return the header by which a POST has its effect once, however often it is sent."""
    return {"Idempotency-Key": str(uuid4())}


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pause(response: httpx.Response, *, repeatable: bool) -> int:
    """Return the seconds after which to send a request again; 0: not at all."""
    passing = {httpx.codes.TOO_MANY_REQUESTS}
    if repeatable:  # a conflict: the first of two is still at work
        passing |= {httpx.codes.CONFLICT, httpx.codes.SERVICE_UNAVAILABLE}
    seconds = response.headers.get("Retry-After", "")
    if response.status_code in passing and seconds.isdecimal() and int(seconds) <= LONGEST_WAIT:
        return max(int(seconds), 1)
    return 0


def _count(lost: int, problem: Problem) -> int:
    """Count one more failure to follow in a row; raises the problem when they are too many."""
    if lost == MOST_LOST:
        raise problem
    if not lost:
        output.note("Cannot follow for the moment: trying again")
    return lost + 1


def _told(response: httpx.Response) -> dict[str, Any]:
    """Return the body of an error, empty where it is not the platform's."""
    with suppress(ValueError):
        told = response.json()
        if isinstance(told, dict) and "error_code" in told:
            return told
    return {}


def _message(response: httpx.Response) -> str:
    return str(_told(response).get("message", response.reason_phrase))


def _details(details: dict[str, Any]) -> str:
    """Return an error's details in a line."""
    if errors := details.get("errors"):
        return "; ".join(f"{error['field']}: {error['message']}" for error in errors)
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in details.items()
    )
