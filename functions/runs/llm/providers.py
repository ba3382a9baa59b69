"""Models of OpenAI (and what speaks its language), Anthropic and Amazon Bedrock.

Pydantic AI words the requests and reads the answers, through each provider's own client. Here is
what a run needs besides: at most three attempts, a deadline that holds, a largest answer, tool
names that providers accept, and errors that repeat nothing of what a provider said.
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
    Model,
    ModelRequest,
    ModelResponse,
    ProviderError,
    ProviderErrorReason,
    ToolCall,
    ToolSpec,
)
from mini_agent.telemetry import logger

# The providers' packages take seconds to load: everything of theirs is imported at first use.
if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ToolCallPart
    from pydantic_ai.messages import ModelResponse as ProviderResponse
    from pydantic_ai.models import Model as Client

ATTEMPTS = 3
MOST_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 5
GRACE_SECONDS = 0.5
"""For the loop's thread to report its own timeout, before the caller goes without it."""

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com"

MESSAGES: Mapping[ProviderErrorReason, str] = {
    "rate_limited": "The model's provider takes no more requests for now.",
    "provider_unavailable": "The model's provider is not available.",
    "timeout": "The model did not answer in time.",
    "credentials_refused": "The model's provider refused the credentials.",
    "bad_answer": "The model's provider gave an answer that makes no sense.",
    "output_too_large": "The model's answer was too large.",
    "request_refused": "The model's provider refused the request.",
}
FINISHES: Mapping[str | None, FinishReason] = {"length": "length", "content_filter": "refusal"}


def model(entry: CatalogueModel, credentials: Mapping[str, Any] | None) -> Model:
    """Return a model of the catalogue.

    `credentials` holds `api_key` and perhaps `base_url`; for Bedrock `region` and perhaps
    `endpoint_url`, where the AWS credentials are the process's own.
    """
    return ProviderModel(entry, credentials or {})


class ProviderModel:
    """A model that is asked for one answer at a time."""

    def __init__(self, entry: CatalogueModel, credentials: Mapping[str, Any]) -> None:
        self._entry, self._credentials = entry, credentials
        self.price = entry.price

    def ask(self, conversation: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        """Return the next answer; raises ProviderError."""
        deadline = time.monotonic() + seconds
        asked = asyncio.run_coroutine_threadsafe(
            self._ask(conversation, max_tokens, deadline), _loop()
        )
        try:
            outcome = asked.result(max(0, deadline - time.monotonic()) + GRACE_SECONDS)
        except TimeoutError as error:
            asked.cancel()
            outcome = error
        if isinstance(outcome, ModelResponse):
            return outcome
        # Raised here and not where it was caught: an error's context would carry the provider's.
        reason = _reason(outcome)
        logger.warning(
            "a model did not answer", extra={"reason": reason, "cause": type(outcome).__name__}
        )
        raise ProviderError(reason, MESSAGES[reason])

    async def _ask(
        self, conversation: ModelRequest, max_tokens: int, deadline: float
    ) -> ModelResponse | BaseException:
        """Return the answer, or what went wrong."""
        try:
            # One deadline for everything, attempts and pauses between them included.
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._request(conversation, max_tokens, deadline)
        except (Exception, _TooLarge) as error:  # noqa: BLE001 - an answer may break anything
            return error

    async def _request(
        self, conversation: ModelRequest, max_tokens: int, deadline: float
    ) -> ModelResponse:
        from pydantic_ai.direct import model_request  # noqa: PLC0415
        from pydantic_ai.models import ModelRequestParameters  # noqa: PLC0415
        from pydantic_ai.tools import ToolDefinition  # noqa: PLC0415

        names = wire_names(conversation.tools)
        tools = [
            ToolDefinition(
                name=names[tool.name],
                description=tool.description,
                parameters_json_schema=tool.parameters or {"type": "object", "properties": {}},
                strict=False,  # the schema goes out as it is
            )
            for tool in conversation.tools
        ]
        async with self._client(deadline) as client:
            response = await model_request(
                client,
                _messages(conversation, names),
                model_settings={"max_tokens": max_tokens},
                model_request_parameters=ModelRequestParameters(function_tools=tools),
            )
        return _answer(response, {wire: name for name, wire in names.items()})

    @asynccontextmanager
    async def _client(self, deadline: float) -> "AsyncIterator[Client]":
        _hush()
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
        from openai import AsyncOpenAI  # noqa: PLC0415
        from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
        from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415

        async with AsyncOpenAI(
            api_key=self._credentials["api_key"],
            base_url=self._credentials.get("base_url") or OPENAI,
            max_retries=ATTEMPTS - 1,
            timeout=deadline - time.monotonic(),
            http_client=_http(deadline),
        ) as client:
            yield OpenAIChatModel(self._entry.id, provider=OpenAIProvider(openai_client=client))

    @asynccontextmanager
    async def _anthropic(self, deadline: float) -> "AsyncIterator[Client]":
        from anthropic import AsyncAnthropic  # noqa: PLC0415
        from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415
        from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

        async with AsyncAnthropic(
            api_key=self._credentials["api_key"],
            base_url=self._credentials.get("base_url") or ANTHROPIC,
            max_retries=ATTEMPTS - 1,
            timeout=deadline - time.monotonic(),
            http_client=_http(deadline),
        ) as client:
            provider = AnthropicProvider(anthropic_client=client)
            yield AnthropicModel(self._entry.id, provider=provider)

    def _bedrock(self, deadline: float) -> "Client":
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from pydantic_ai.models.bedrock import BedrockConverseModel  # noqa: PLC0415
        from pydantic_ai.providers.bedrock import BedrockProvider  # noqa: PLC0415

        client = boto3.client(
            "bedrock-runtime",
            region_name=self._credentials.get("region"),
            endpoint_url=self._credentials.get("endpoint_url"),
            config=Config(retries={"total_max_attempts": ATTEMPTS, "mode": "standard"}),
        )
        client.meta.events.register("before-send.bedrock-runtime.Converse", _Sender(deadline))
        return BedrockConverseModel(self._entry.id, provider=BedrockProvider(bedrock_client=client))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the process's event loop for models.

    In a thread of its own: the caller's has a loop that is running. And nobody has to wait for a
    thread that hangs, in a name's resolution or in botocore.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="models", daemon=True).start()
    return loop


@cache
def _hush() -> None:
    """Keep the clients' loggers from saying more than warnings: prompts and keys are in it."""
    for name in ("anthropic", "botocore", "httpcore2", "httpx2", "openai", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


# ── Bounds ──────────────────────────────────────────────────────────────────────────────────────
class _TooLarge(BaseException):
    """An answer is larger than MOST_BYTES.

    No Exception, since the clients try again after any.
    """


@cache
def _tls() -> Any:
    """Return what checks certificates: 35 ms to make, so made once."""
    import httpx2  # noqa: PLC0415

    return httpx2.create_ssl_context()


def _http(deadline: float) -> Any:
    """Return an HTTP client that reads so much only and does not wait for what comes too late."""
    import httpx2  # noqa: PLC0415

    class CappedStream(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self._stream:
                size += len(chunk)
                if size > MOST_BYTES:
                    raise _TooLarge
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def bound(response: httpx2.Response) -> None:
        response.stream = CappedStream(response.stream)
        # Unasked for, and a way to send far more than MOST_BYTES.
        response.headers.pop("Content-Encoding", None)
        if _seconds(response.headers.get("Retry-After")) > deadline - time.monotonic():
            response.headers["X-Should-Retry"] = "false"  # both clients obey it

    return httpx2.AsyncClient(
        verify=_tls(),
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [bound]},
    )


def _seconds(retry_after: str | None) -> float:
    try:
        return float(retry_after or 0)
    except ValueError:
        return 0  # a date; the deadline holds all the same


class _Sender:
    """Sends botocore's requests: nothing after the deadline, and it reads so much only."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __call__(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse  # noqa: PLC0415
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415
        from urllib3 import HTTPResponse  # noqa: PLC0415

        left = self._left()
        timeout: Any = (min(left, CONNECT_SECONDS), left)
        session = URLLib3Session(timeout=timeout)
        request.stream_output = True  # or the session would read it all
        response: Any = session.send(request)
        body = bytearray()
        try:
            while chunk := response.raw.read1(65_536):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise _TooLarge
                self._left()
        finally:
            response.raw.close()
            session.close()
        read: Any = HTTPResponse(BytesIO(body), preload_content=False)
        return AWSResponse(response.url, response.status_code, response.headers, read)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


# ── What goes out ───────────────────────────────────────────────────────────────────────────────
def wire_names(tools: list[ToolSpec]) -> dict[str, str]:
    """Return what providers call each tool: its name, or one like it of characters they accept."""
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


def _messages(conversation: ModelRequest, names: Mapping[str, str]) -> "list[ModelMessage]":
    from pydantic_ai.messages import (  # noqa: PLC0415
        ModelMessagesTypeAdapter,
        ModelRequest,
        ToolReturnPart,
        UserPromptPart,
    )

    instructions = conversation.instructions
    messages: list[ModelMessage] = [
        ModelRequest([UserPromptPart(conversation.prompt)], instructions=instructions)
    ]
    for turn in conversation.turns:
        messages += ModelMessagesTypeAdapter.validate_python([turn.answer.state])
        parts = [
            ToolReturnPart(
                names.get(result.call.name) or _acceptable(result.call.name),
                result.content,
                result.call.id,
            )
            for result in turn.results
        ]
        messages.append(ModelRequest(parts, instructions=instructions))
    return messages


# ── What comes back ─────────────────────────────────────────────────────────────────────────────
def _answer(response: "ProviderResponse", names: Mapping[str, str]) -> ModelResponse:
    from pydantic_ai.exceptions import UnexpectedModelBehavior  # noqa: PLC0415
    from pydantic_ai.messages import ModelMessagesTypeAdapter  # noqa: PLC0415

    if response.finish_reason == "error":
        raise UnexpectedModelBehavior("error")
    calls = [
        ToolCall(part.tool_call_id, names.get(part.tool_name, part.tool_name), _arguments(part))
        for part in response.tool_calls
    ]
    for part in response.tool_calls:
        # Providers refuse a history with names such as a model may invent.
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
    """Return why there is no answer; what is unknown came of reading one."""
    from botocore.exceptions import NoCredentialsError  # noqa: PLC0415
    from pydantic_ai import exceptions as e  # noqa: PLC0415

    reasons: dict[ProviderErrorReason, tuple[type[BaseException], ...]] = {
        "output_too_large": (_TooLarge,),
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
    refused = isinstance(error, e.ModelHTTPError) and 400 <= error.status_code < 500  # noqa: PLR2004
    return "request_refused" if refused else "bad_answer"
