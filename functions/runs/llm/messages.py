"""What passes between the run loop and a model, whoever the provider is."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from functions.runs.llm.catalogue import Price
from mini_agent.executions import ProviderStopReason

ProviderErrorReason = Literal[ProviderStopReason, "timeout", "output_too_large"]
"""Why a model did not answer; the run stops for this reason."""

FinishReason = Literal["stop", "tool_calls", "length", "refusal"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it."""

    name: str
    description: str
    parameters: dict[str, Any] | None
    """A JSON Schema of an object; None for a tool that takes nothing in particular."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that a model asks for; `name` is whatever it wrote, `id` the provider's."""

    id: str
    name: str
    arguments: dict[str, Any] | str
    """Text where the model wrote no JSON object."""


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """What a model said: text, tool calls, or both."""

    text: str
    calls: list[ToolCall]
    finish: FinishReason
    input_tokens: int
    output_tokens: int
    state: dict[str, Any] = field(default_factory=dict)
    """The answer as the provider gave it, JSON throughout: the next turn hands it back."""


@dataclass(frozen=True, slots=True)
class ToolReturn:
    """What became of a tool call, as the model is told."""

    call: ToolCall
    content: str


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer with tool calls, and the result of each."""

    answer: ModelResponse
    results: list[ToolReturn]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """All that a model is given for its next answer."""

    instructions: str
    prompt: str
    tools: list[ToolSpec]
    turns: list[Turn] = field(default_factory=list)


class ProviderError(Exception):
    """A model did not answer; `message` for people.

    Nothing of the provider's own text is in it: that may repeat the prompt or a key.
    """

    def __init__(self, reason: ProviderErrorReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Model(Protocol):
    """A model of some provider, ready to be asked."""

    @property
    def price(self) -> Price | None:
        """What its tokens cost; None for a model that is free."""

    def ask(self, conversation: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        """Return its next answer of at most so many tokens, within so many seconds.

        Raises ProviderError.
        """
