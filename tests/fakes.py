"""Model providers on 127.0.0.1: each speaks its provider's wire format, and does as a script says.

with FakeOpenAI([call("weather", {"city": "Oslo"}), say("It rains.")]) as fake:
    ...  # a client of fake.url
    assert len(fake.requests) == 2
"""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

INPUT_TOKENS, OUTPUT_TOKENS = 11, 7


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a provider does with a request; made by the functions below."""

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    finish: str = "stop"
    """stop, length or refusal; calls finish as such."""
    status: int = 200
    retry_after: int | None = None
    way: str = "whole"
    """How the body is sent: whole, truncated, dripping or never."""
    input_tokens: int = INPUT_TOKENS
    output_tokens: int = OUTPUT_TOKENS
    after: threading.Event | None = None
    """Waited for before the answer is sent."""


Script = Sequence[Behaviour] | Callable[[dict[str, Any]], Behaviour]


def say(text: str, *, finish: str = "stop", after: threading.Event | None = None) -> Behaviour:
    """Answer with a text."""
    return Behaviour(text, finish=finish, after=after)


def call(tool: str, arguments: Any, *, text: str = "") -> Behaviour:
    """Ask for a tool; arguments that are no object are sent as they are."""
    return calls((tool, arguments), text=text)


def calls(*asked: tuple[str, Any], text: str = "") -> Behaviour:
    """Ask for several tools at once."""
    return Behaviour(text, calls=asked)


def status(code: int, retry_after: int | None = None) -> Behaviour:
    """Fail; the error repeats the request and its headers, as careless providers do."""
    return Behaviour(status=code, retry_after=retry_after)


def hang() -> Behaviour:
    """Accept the request and say nothing."""
    return Behaviour("late", way="never")


def drip() -> Behaviour:
    """Send the answer byte after byte, for minutes."""
    return Behaviour("slow " * 200, way="dripping")


def truncated() -> Behaviour:
    """Send the first half of the answer's JSON as if it were all."""
    return Behaviour("half", way="truncated")


def refusal(text: str = "") -> Behaviour:
    """Answer that it will not."""
    return Behaviour(text, finish="refusal")


def big(size: int) -> Behaviour:
    """Answer with a text of so many bytes."""
    return Behaviour("x" * size)


def used(behaviour: Behaviour, input_tokens: int, output_tokens: int) -> Behaviour:
    """Do the same, and say that it took so many tokens."""
    return replace(behaviour, input_tokens=input_tokens, output_tokens=output_tokens)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Fake(ABC):
    """A provider. When a script of behaviours is over, its last one goes on for ever."""

    script: Script
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Take note of a request and do as the script says."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.path, headers, body)
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        if not self.serves(request.path):
            behaviour = status(404)
        elif callable(self.script):
            behaviour = self.script(body)
        else:
            behaviour = self.script[min(number, len(self.script)) - 1]
        if behaviour.after:
            behaviour.after.wait(30)
        self._send(handler, request, number, behaviour)

    def _send(
        self, handler: BaseHTTPRequestHandler, request: Request, number: int, behaviour: Behaviour
    ) -> None:
        if behaviour.way == "never":
            self._closing.wait(60)
            handler.close_connection = True
            return
        if behaviour.status == 200:
            extra: dict[str, str] = {}
            content = self.body(number, behaviour)
        else:
            said = f"It went wrong: {request.headers} {json.dumps(request.body)}"
            extra, content = self.error(behaviour.status, said)
        data = json.dumps(content).encode()
        if behaviour.way == "truncated":
            data = data[: len(data) // 2]
        handler.send_response(behaviour.status)
        if behaviour.retry_after is not None:
            extra["Retry-After"] = str(behaviour.retry_after)
        fields = {"Content-Type": "application/json", "Content-Length": str(len(data)), **extra}
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.end_headers()
        if behaviour.way == "dripping":
            for byte in data:
                handler.wfile.write(bytes([byte]))
                if self._closing.wait(0.2):
                    handler.close_connection = True
                    return
        else:
            handler.wfile.write(data)

    @staticmethod
    @abstractmethod
    def serves(path: str) -> bool:
        """Tell whether the provider has this path."""

    @staticmethod
    @abstractmethod
    def body(number: int, behaviour: Behaviour) -> dict[str, Any]:
        """Return an answer as the provider words it."""

    @staticmethod
    @abstractmethod
    def error(code: int, said: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Return an error's own headers and its body."""


class FakeOpenAI(Fake):
    """POST /v1/chat/completions; a client's base URL is `url` + "/v1"."""

    @staticmethod
    def serves(path: str) -> bool:
        return path == "/v1/chat/completions"

    @staticmethod
    def body(number: int, behaviour: Behaviour) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": behaviour.text or None}
        finish = behaviour.finish
        if behaviour.calls:
            finish = "tool_calls"
            message["tool_calls"] = [
                {
                    "id": _id(number, position),
                    "type": "function",
                    "function": {
                        "name": tool,
                        "arguments": asked if isinstance(asked, str) else json.dumps(asked),
                    },
                }
                for position, (tool, asked) in enumerate(behaviour.calls)
            ]
        elif finish == "refusal":
            finish = "stop"
            message |= {"content": None, "refusal": behaviour.text or "I won't."}
        taken, given = behaviour.input_tokens, behaviour.output_tokens
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": taken,
                "completion_tokens": given,
                "total_tokens": taken + given,
            },
        }

    @staticmethod
    def error(code: int, said: str) -> tuple[dict[str, str], dict[str, Any]]:
        return {}, {"error": {"message": said, "type": f"error_{code}"}}


class FakeAnthropic(Fake):
    """POST /v1/messages; a client's base URL is `url`."""

    FINISH: ClassVar = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}

    @staticmethod
    def serves(path: str) -> bool:
        return path.split("?", maxsplit=1)[0] == "/v1/messages"

    @staticmethod
    def body(number: int, behaviour: Behaviour) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        if behaviour.text:
            content.append({"type": "text", "text": behaviour.text})
        content += [
            {"type": "tool_use", "id": _id(number, position), "name": tool, "input": asked}
            for position, (tool, asked) in enumerate(behaviour.calls)
        ]
        return {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": "fake",
            "content": content,
            "stop_reason": "tool_use"
            if behaviour.calls
            else FakeAnthropic.FINISH[behaviour.finish],
            "stop_sequence": None,
            "usage": {
                "input_tokens": behaviour.input_tokens,
                "output_tokens": behaviour.output_tokens,
            },
        }

    @staticmethod
    def error(code: int, said: str) -> tuple[dict[str, str], dict[str, Any]]:
        kind = "rate_limit_error" if code == 429 else "api_error"
        return {}, {"type": "error", "error": {"type": kind, "message": said}}


class FakeBedrock(Fake):
    """POST /model/{id}/converse; a client's endpoint URL is `url`."""

    FINISH: ClassVar = {
        "stop": "end_turn",
        "length": "max_tokens",
        "refusal": "guardrail_intervened",
    }
    ERRORS: ClassVar = {
        400: "ValidationException",
        403: "AccessDeniedException",
        404: "ResourceNotFoundException",
        429: "ThrottlingException",
        500: "InternalServerException",
        503: "ServiceUnavailableException",
    }

    @staticmethod
    def serves(path: str) -> bool:
        return path.startswith("/model/") and path.endswith("/converse")

    @staticmethod
    def body(number: int, behaviour: Behaviour) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"text": behaviour.text}] if behaviour.text else []
        content += [
            {"toolUse": {"toolUseId": _id(number, position), "name": tool, "input": asked}}
            for position, (tool, asked) in enumerate(behaviour.calls)
        ]
        taken, given = behaviour.input_tokens, behaviour.output_tokens
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "tool_use" if behaviour.calls else FakeBedrock.FINISH[behaviour.finish],
            "usage": {"inputTokens": taken, "outputTokens": given, "totalTokens": taken + given},
            "metrics": {"latencyMs": 1},
        }

    @staticmethod
    def error(code: int, said: str) -> tuple[dict[str, str], dict[str, Any]]:
        kind = FakeBedrock.ERRORS.get(code, "UnknownError")
        return {"x-amzn-ErrorType": kind}, {"message": said}


def _id(number: int, position: int) -> str:
    return f"call_{number}_{position}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    fake: Fake


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has gone
            super().handle()

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.fake.answer(self)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
