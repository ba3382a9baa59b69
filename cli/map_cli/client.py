"""The client of the platform's HTTP API: retries, pages, event streams, and errors for people."""

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
from map_cli.errors import NOT_LOGGED_IN, REFUSED, UNAVAILABLE, CommandError

TIMEOUT = httpx.Timeout(35, connect=5)  # API Gateway gives up after 29 s
MAX_WAIT_SECONDS = 60
MAX_ATTEMPTS = 3
MAX_FAILURES = 6
"""How often in a row a request for a run's events may fail."""
MAX_PAGE_SIZE = 100


class Client:
    """Calls the API with a key. Every failure is a CommandError."""

    def __init__(self, login: Login, profile: str = config.DEFAULT) -> None:
        parts = urlsplit(login.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandError(f"{login.url} is not an address such as https://api.example.com")
        if not login.key.isascii() or not login.key.isprintable():
            raise CommandError(
                "The key has characters that no key has: copy it again", NOT_LOGGED_IN
            )
        self.url, self.profile = login.url.rstrip("/"), profile
        headers = {"X-API-KEY": login.key}
        try:
            self._http = httpx.Client(
                base_url=f"{self.url}/api/v1/", headers=headers, timeout=TIMEOUT
            )
        except httpx.InvalidURL as error:
            raise CommandError(f"{login.url} is not an address: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        *path: object,
        body: object = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Any:
        """Return the JSON of the response, None if it has no body."""
        response = self.send(method, *path, body=body, headers=headers, **query)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise self._unknown_server(response) from error

    def send(
        self,
        method: str,
        *path: object,
        body: object = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """Return the response, after a short wait if the API asks for one.

        A request with an Idempotency-Key is also sent again if no response came.
        """
        url = "/".join(quote(str(part), safe="") for part in path)
        params = {name: _query_value(value) for name, value in query.items() if value is not None}
        is_repeatable = "Idempotency-Key" in (headers or {})
        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            try:
                response = self._http.request(
                    method, url, json=body, headers=headers, params=params
                )
            except httpx.RequestError as error:
                if not (is_repeatable and attempts_left):
                    raise self._unreachable(error) from error
                continue
            wait = _retry_after(response, is_repeatable=is_repeatable)
            if not (attempts_left and wait):
                break
            output.note(f"{_message(response)}: trying again in {wait} s")
            time.sleep(wait)
        if not response.is_success:
            raise self._error(response)
        return response

    def page(self, *path: object, limit: int, all_pages: bool, **query: Any) -> Any:
        """Return a page of a list; with `all_pages`, all pages joined into one."""
        limit = MAX_PAGE_SIZE if all_pages else limit
        page = self.call("GET", *path, limit=limit, **query)
        while all_pages and page["has_more"]:
            more = self.call("GET", *path, limit=limit, cursor=page["next_cursor"], **query)
            page = more | {"items": page["items"] + more["items"]}
        return page

    def id_of(self, *collection: str, name: str) -> str:
        """Return the id of a resource by its name; an id is returned as it is."""
        with suppress(ValueError):
            return str(UUID(name))
        found = self.call("GET", *collection, name=name, limit=2)["items"]
        if len(found) == 1:
            return str(found[0]["id"])
        [*_, kind] = collection
        count = "More than one" if found else "None"
        commands = " ".join(collection)
        raise CommandError(
            f"{count} of the {kind} is called {name}: `map {commands} list` shows their ids"
        )

    def follow(self, execution: object) -> Iterator[ServerSentEvent]:
        """Yield the events of a run as they arrive, until it has ended.

        It follows the standard of server-sent events: when a response ends or breaks off, the next
        request goes out after the pause that the platform asked for, with the id of the last event
        seen. It stops after the last event, or when the platform returns 204.
        """
        seen: dict[str, str] = {}
        pause, failures = 3.0, 0
        while True:
            wait = 0
            try:
                with connect_sse(
                    self._http, "GET", f"executions/{execution}/events", headers={**seen}
                ) as source:
                    response = source.response
                    if response.is_success:
                        failures = 0
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
                        error = self._error(response)
                        wait = _retry_after(response, is_repeatable=True)
                        if not wait and error.exit_code != UNAVAILABLE:
                            raise error
                        failures = _count_failure(failures, error)
            except httpx.RequestError as error:
                failures = _count_failure(failures, self._unreachable(error))
            time.sleep(max(pause, failures, wait))

    def _error(self, response: httpx.Response) -> CommandError:
        status = response.status_code
        code = _error_body(response).get("error_code", "")
        exit_code = REFUSED
        if status == httpx.codes.UNAUTHORIZED:
            exit_code = NOT_LOGGED_IN
        elif status >= httpx.codes.INTERNAL_SERVER_ERROR and code != "MODEL_PROVIDER_FAILED":
            exit_code = UNAVAILABLE
        if not code:
            return self._unknown_server(response, exit_code)
        lines = [f"{_message(response)} ({code})"]
        if exit_code == NOT_LOGGED_IN:
            lines.append(f"Log in with another key: `{config.login_command(self.profile)}`")
        elif details := _details(_error_body(response).get("details", {})):
            lines.append(details)
        return CommandError("\n".join(lines), exit_code)

    def _unknown_server(self, response: httpx.Response, exit_code: int = REFUSED) -> CommandError:
        message = f"{self.url} responded with {response.status_code}, but not as the platform does"
        return CommandError(f"{message}: is that its URL?", exit_code)

    def _unreachable(self, error: Exception) -> CommandError:
        return CommandError(
            f"{self.url} cannot be reached: {error or type(error).__name__}", UNAVAILABLE
        )


def idempotency_header() -> dict[str, str]:
    """Return the header with which a POST takes effect once, however often it is sent."""
    return {"Idempotency-Key": str(uuid4())}


def _query_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _retry_after(response: httpx.Response, *, is_repeatable: bool) -> int:
    """Return the seconds after which to send a request again, 0 if it must not be."""
    temporary = {httpx.codes.TOO_MANY_REQUESTS}
    if is_repeatable:  # a conflict means that the first of two requests is still running
        temporary |= {httpx.codes.CONFLICT, httpx.codes.SERVICE_UNAVAILABLE}
    seconds = response.headers.get("Retry-After", "")
    if (
        response.status_code in temporary
        and seconds.isdecimal()
        and int(seconds) <= MAX_WAIT_SECONDS
    ):
        return max(int(seconds), 1)
    return 0


def _count_failure(failures: int, error: CommandError) -> int:
    """Return one more than the failures in a row so far; raises the error if they are too many."""
    if failures == MAX_FAILURES:
        raise error
    if not failures:
        output.note("The connection was lost: trying again")
    return failures + 1


def _error_body(response: httpx.Response) -> dict[str, Any]:
    """Return the body of an error, empty if it is not one of the platform's."""
    with suppress(ValueError):
        body = response.json()
        if isinstance(body, dict) and "error_code" in body:
            return body
    return {}


def _message(response: httpx.Response) -> str:
    return str(_error_body(response).get("message", response.reason_phrase))


def _details(details: dict[str, Any]) -> str:
    """Return an error's details in one line."""
    if errors := details.get("errors"):
        return "; ".join(f"{error['field']}: {error['message']}" for error in errors)
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in details.items()
    )
