"""Models of OpenAI (and compatible providers), Anthropic and Amazon Bedrock.

Pydantic AI translates requests and responses, over each provider's own client. This module adds
what a run relies on: at most three attempts, one deadline, a largest response, tool names that
providers accept, and errors that repeat nothing a provider said
(`docs/decisions/0012-model-providers.md`).
"""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from functions.runs.llm.catalogue import CatalogueModel
from functions.runs.llm.messages import (
    FinishReason,
    ModelRequest,
    ModelResponse,
    ProviderError,
    ProviderErrorReason,
    ToolCall,
    ToolSpec,
)
from mini_agent.telemetry import logger

# The providers' packages take seconds to load, so they are imported at first use.
if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ToolCallPart
    from pydantic_ai.messages import ModelResponse as ProviderResponse
    from pydantic_ai.models import Model as Client

MAX_ATTEMPTS = 3
MAX_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 5
GRACE_SECONDS = 0.5
"""How long the caller waits beyond the deadline for the event loop to report the timeout."""

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com"

MESSAGES: Mapping[ProviderErrorReason, str] = {
    "rate_limited": "The model's provider accepts no more requests for now.",
    "provider_unavailable": "The model's provider is not available.",
    "timeout": "The model did not answer in time.",
    "credentials_refused": "The model's provider refused the credentials.",
    "bad_answer": "The model's provider sent a response that cannot be read.",
    "output_too_large": "The model's response was too large.",
    "request_refused": "The model's provider refused the request.",
}
FINISHES: Mapping[str | None, FinishReason] = {"length": "length", "content_filter": "refusal"}


class ProviderModel:
    """A model of the catalogue, with its provider's credentials."""

    def __init__(self, entry: CatalogueModel, credentials: Mapping[str, Any]) -> None:
        """`credentials` has `api_key` and perhaps `base_url`.

        For Bedrock it has `region` and perhaps `endpoint_url`, and requests are signed with the
        AWS credentials of the process.
        """
        self._entry, self._credentials = entry, credentials
        self.price = entry.price

    def ask(self, request: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        """Return the next response; raises ProviderError."""
        deadline = time.monotonic() + seconds
        future = asyncio.run_coroutine_threadsafe(
            self._response_or_error(request, max_tokens, deadline), _event_loop()
        )
        try:
            outcome = future.result(max(0, deadline - time.monotonic()) + GRACE_SECONDS)
        except TimeoutError as error:
            future.cancel()
            outcome = error
        if isinstance(outcome, ModelResponse):
            return outcome
        # Raised outside of any `except`: its context would hold the provider's error.
        reason = _reason(outcome)
        logger.warning(
            "a model did not answer", extra={"reason": reason, "cause": type(outcome).__name__}
        )
        raise ProviderError(reason, MESSAGES[reason])

    async def _response_or_error(
        self, request: ModelRequest, max_tokens: int, deadline: float
    ) -> ModelResponse | BaseException:
        try:
            # One deadline for everything, attempts and pauses between them included.
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._send(request, max_tokens, deadline)
        except (Exception, _ResponseTooLarge) as error:  # noqa: BLE001 - _reason tells them apart
            return error

    async def _send(self, request: ModelRequest, max_tokens: int, deadline: float) -> ModelResponse:
        from pydantic_ai.direct import model_request
        from pydantic_ai.models import ModelRequestParameters
        from pydantic_ai.tools import ToolDefinition

        names = wire_names(request.tools)
        tools = [
            ToolDefinition(
                name=names[tool.name],
                description=tool.description,
                parameters_json_schema=tool.parameters or {"type": "object", "properties": {}},
                strict=False,  # send the schema unchanged
            )
            for tool in request.tools
        ]
        async with self._client(deadline) as client:
            response = await model_request(
                client,
                _messages(request, names),
                model_settings={"max_tokens": max_tokens},
                model_request_parameters=ModelRequestParameters(function_tools=tools),
            )
        return _parse(response, {wire: name for name, wire in names.items()})

    @asynccontextmanager
    async def _client(self, deadline: float) -> "AsyncIterator[Client]":
        _quiet_loggers()
        match self._entry.provider:
            case "openai":
                async with self._openai(deadline) as client:
                    yield client
            case "anthropic":
                async with self._anthropic(deadline) as client:
                    yield client
            case "bedrock":
                yield self._bedrock(deadline)

    @asynccontextmanager
    async def _openai(self, deadline: float) -> "AsyncIterator[Client]":
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        async with AsyncOpenAI(
            api_key=self._credentials["api_key"],
            base_url=self._credentials.get("base_url") or OPENAI,
            max_retries=MAX_ATTEMPTS - 1,
            timeout=deadline - time.monotonic(),
            http_client=_http_client(deadline),
        ) as client:
            yield OpenAIChatModel(self._entry.id, provider=OpenAIProvider(openai_client=client))

    @asynccontextmanager
    async def _anthropic(self, deadline: float) -> "AsyncIterator[Client]":
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        async with AsyncAnthropic(
            api_key=self._credentials["api_key"],
            base_url=self._credentials.get("base_url") or ANTHROPIC,
            max_retries=MAX_ATTEMPTS - 1,
            timeout=deadline - time.monotonic(),
            http_client=_http_client(deadline),
        ) as client:
            provider = AnthropicProvider(anthropic_client=client)
            yield AnthropicModel(self._entry.id, provider=provider)

    def _bedrock(self, deadline: float) -> "Client":
        import boto3
        from botocore.config import Config
        from pydantic_ai.models.bedrock import BedrockConverseModel
        from pydantic_ai.providers.bedrock import BedrockProvider

        client = boto3.client(
            "bedrock-runtime",
            region_name=self._credentials.get("region"),
            endpoint_url=self._credentials.get("endpoint_url"),
            config=Config(retries={"total_max_attempts": MAX_ATTEMPTS, "mode": "standard"}),
        )
        client.meta.events.register(
            "before-send.bedrock-runtime.Converse", _BotocoreSender(deadline)
        )
        return BedrockConverseModel(self._entry.id, provider=BedrockProvider(bedrock_client=client))


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """Return the process's event loop for models.

    It runs in a thread of its own, since the caller's thread runs a loop already, and since a
    caller can leave a thread that hangs in name resolution or in botocore.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="models", daemon=True).start()
    return loop


@cache
def _quiet_loggers() -> None:
    """Let the clients' loggers write warnings only: their debug lines hold prompts and keys."""
    for name in ("anthropic", "botocore", "httpcore2", "httpx2", "openai", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


# ── Bounds ──────────────────────────────────────────────────────────────────────────────────────
class _ResponseTooLarge(BaseException):
    """A response is larger than MAX_BYTES.

    Not an Exception: after any of those the clients try again.
    """


@cache
def _tls() -> Any:
    """Return the context that checks certificates; it takes 35 ms to create."""
    import httpx2

    return httpx2.create_ssl_context()


def _http_client(deadline: float) -> Any:
    """Return a client that reads MAX_BYTES at most and makes no attempt after the deadline."""
    import httpx2

    class CappedStream(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self._stream:
                size += len(chunk)
                if size > MAX_BYTES:
                    raise _ResponseTooLarge
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def limit(response: httpx2.Response) -> None:
        response.stream = CappedStream(response.stream)
        # Not asked for, and decompressed it could be far more than MAX_BYTES.
        response.headers.pop("Content-Encoding", None)
        if _retry_seconds(response.headers.get("Retry-After")) > deadline - time.monotonic():
            response.headers["X-Should-Retry"] = "false"  # which both clients obey

    return httpx2.AsyncClient(
        verify=_tls(),
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [limit]},
    )


def _retry_seconds(retry_after: str | None) -> float:
    try:
        return float(retry_after or 0)
    except ValueError:
        return 0  # a date; the deadline holds anyway


class _BotocoreSender:
    """Sends botocore's requests: none after the deadline, and it reads MAX_BYTES at most."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __call__(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse
        from botocore.httpsession import URLLib3Session
        from urllib3 import HTTPResponse

        left = self._seconds_left()
        timeout: Any = (min(left, CONNECT_SECONDS), left)
        session = URLLib3Session(timeout=timeout)
        request.stream_output = True  # or the session would read everything
        response: Any = session.send(request)
        body = bytearray()
        try:
            while chunk := response.raw.read1(65_536):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise _ResponseTooLarge
                self._seconds_left()
        finally:
            response.raw.close()
            session.close()
        read: Any = HTTPResponse(BytesIO(body), preload_content=False)
        return AWSResponse(response.url, response.status_code, response.headers, read)

    def _seconds_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


# ── Requests ────────────────────────────────────────────────────────────────────────────────────
def wire_names(tools: list[ToolSpec]) -> dict[str, str]:
    """Return the name that providers get for each tool: similar, of characters they accept."""
    names = {tool.name: tool.name for tool in tools if _acceptable(tool.name) == tool.name}
    taken = set(names)
    for number, tool in enumerate(tools):
        if tool.name not in names:
            wire = f"{_acceptable(tool.name)[:50]}_{number}"
            while wire in taken:
                wire += "_"
            names[tool.name] = wire
            taken.add(wire)
    return names


def _acceptable(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "_"


def _messages(request: ModelRequest, names: Mapping[str, str]) -> "list[ModelMessage]":
    from pydantic_ai import messages as wire

    instructions = request.instructions
    messages: list[ModelMessage] = [
        wire.ModelRequest([wire.UserPromptPart(request.prompt)], instructions=instructions)
    ]
    for turn in request.turns:
        messages += wire.ModelMessagesTypeAdapter.validate_python([turn.response.state])
        parts = [
            wire.ToolReturnPart(
                names.get(result.call.name) or _acceptable(result.call.name),
                result.content,
                result.call.id,
            )
            for result in turn.results
        ]
        messages.append(wire.ModelRequest(parts, instructions=instructions))
    return messages


# ── Responses ───────────────────────────────────────────────────────────────────────────────────
def _parse(response: "ProviderResponse", names: Mapping[str, str]) -> ModelResponse:
    from pydantic_ai.exceptions import UnexpectedModelBehavior
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    if response.finish_reason == "error":
        raise UnexpectedModelBehavior("error")
    calls = [
        ToolCall(part.tool_call_id, names.get(part.tool_name, part.tool_name), _arguments(part))
        for part in response.tool_calls
    ]
    for part in response.tool_calls:
        # A model may invent a name that its provider refuses in the next request.
        part.tool_name = _acceptable(part.tool_name)
    refused = (response.provider_details or {}).get("refusal")
    return ModelResponse(
        text=response.text or refused or "",
        calls=calls,
        finish=FINISHES.get(response.finish_reason) or ("tool_calls" if calls else "stop"),
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
        state=ModelMessagesTypeAdapter.dump_python([response], mode="json")[0],
    )


def _arguments(part: "ToolCallPart") -> dict[str, Any] | str:
    try:
        return part.args_as_dict(raise_if_invalid=True)
    except (ValueError, AssertionError):
        return part.args if isinstance(part.args, str) else json.dumps(part.args)


def _reason(error: BaseException) -> ProviderErrorReason:
    """Return why there is no response; an unknown error came from reading one."""
    from botocore.exceptions import NoCredentialsError
    from pydantic_ai import exceptions as e

    reasons: dict[ProviderErrorReason, tuple[type[BaseException], ...]] = {
        "output_too_large": (_ResponseTooLarge,),
        "timeout": (TimeoutError, e.ModelTimeoutError),
        "rate_limited": (e.ModelRateLimitError, e.ModelQuotaExceededError),
        "credentials_refused": (e.ModelAuthenticationError, NoCredentialsError),
        "provider_unavailable": (
            e.ModelUnavailableError,
            e.ModelServerError,
            e.ModelConnectionError,
        ),
    }
    for reason, types in reasons.items():
        if isinstance(error, types):
            return reason
    refused = isinstance(error, e.ModelHTTPError) and 400 <= error.status_code < 500  # noqa: PLR2004 - any 4xx
    return "request_refused" if refused else "bad_answer"
