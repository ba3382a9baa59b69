"""What the run loop and a model exchange, the same for every provider."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from functions.runs.llm.catalogue import Price
from mini_agent.executions import ProviderStopReason

ProviderErrorReason = Literal[ProviderStopReason, "timeout", "output_too_large"]
"""Why a model did not answer; the run stops for this reason."""

FinishReason = Literal["stop", "tool_calls", "length", "refusal"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it."""

    name: str
    description: str
    parameters: dict[str, Any] | None
    """A JSON Schema of an object; None if the tool declares no parameters."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that a model asks for: `name` as the model wrote it, `id` from the provider."""

    id: str
    name: str
    arguments: dict[str, Any] | str
    """A string if the model wrote no JSON object."""


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """A model's response: text, tool calls, or both."""

    text: str
    calls: list[ToolCall]
    finish: FinishReason
    input_tokens: int
    output_tokens: int
    state: dict[str, Any] = field(default_factory=dict)
    """The provider's own form of the response, as JSON; the next request sends it back."""


@dataclass(frozen=True, slots=True)
class ToolReturn:
    """The result of a tool call, as the model reads it."""

    call: ToolCall
    content: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A response with tool calls, and the result of each."""

    response: ModelResponse
    results: list[ToolReturn]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Everything that a model needs for its next response."""

    instructions: str
    prompt: str
    tools: list[ToolSpec]
    turns: list[Turn] = field(default_factory=list)


class ProviderError(Exception):
    """A model did not answer; `message` is for people.

    Nothing of the provider's own text is in it: that may repeat the prompt or a key.
    """

    def __init__(self, reason: ProviderErrorReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Model(Protocol):
    """A model with its provider's credentials."""

    @property
    def price(self) -> Price | None:
        """What its tokens cost; None for a model that is free."""

    def ask(self, request: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        """Return the next response, of at most so many tokens and within so many seconds.

        Raises ProviderError.
        """
