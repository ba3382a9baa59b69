"""The models of each provider, through its official client, against a fake of its wire format."""

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from io import StringIO
from typing import Any, Literal

import boto3
import pytest

from functions.runs.llm import providers
from functions.runs.llm.catalogue import CatalogueModel, Price
from functions.runs.llm.messages import (
    Model,
    ModelRequest,
    ModelResponse,
    ProviderError,
    ToolCall,
    ToolReturn,
    ToolSpec,
    Turn,
)
from tests.fakes import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Behaviour,
    Fake,
    FakeAnthropic,
    FakeBedrock,
    FakeOpenAI,
    big,
    call,
    calls,
    drip,
    hang,
    refusal,
    say,
    status,
    truncated,
)
from tests.waiting import Stopwatch

KEY = "sk-canary-key"
PROMPT = "canary prompt"
WEATHER = ToolSpec(
    "weather",
    "Tells the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
ODD = ToolSpec("Wetter für heute?", "Weather as well.", None)
ASKED = ModelRequest("Be brief.", PROMPT, [WEATHER, ODD])


@dataclass
class Provider:
    """A provider that does as its script says, and our model of it."""

    name: Literal["openai", "anthropic", "bedrock"]
    fake: Fake
    model: Model

    def ask(self, asked: ModelRequest = ASKED, *, seconds: float = 20) -> ModelResponse:
        return self.model.ask(asked, max_tokens=50, seconds=seconds)

    def fail(self, seconds: float = 20) -> ProviderError:
        with pytest.raises(ProviderError) as raised:
            self.ask(seconds=seconds)
        return raised.value


@pytest.fixture(scope="module", autouse=True)
def no_session_of_other_tests() -> None:
    """boto3's default session keeps the credentials that it found first."""
    boto3.DEFAULT_SESSION = None


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """The clients' packages, whose loading counts as the model's time otherwise."""
    for name in ("openai", "anthropic", "bedrock"):
        import_module(f"pydantic_ai.models.{name}")


@pytest.fixture(params=["openai", "anthropic", "bedrock"])
def start(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Provider]]:
    """Starts the provider with a script."""
    started: list[Fake] = []

    def start(*script: Behaviour) -> Provider:
        fakes: dict[str, Callable[[list[Behaviour]], Fake]]
        fakes = {"openai": FakeOpenAI, "anthropic": FakeAnthropic, "bedrock": FakeBedrock}
        fake = fakes[request.param](list(script)).__enter__()
        started.append(fake)
        credentials = {
            "openai": {"api_key": KEY, "base_url": f"{fake.url}/v1"},
            "anthropic": {"api_key": KEY, "base_url": fake.url},
            "bedrock": {"region": "eu-west-1", "endpoint_url": fake.url},
        }[request.param]
        entry = CatalogueModel(request.param, "some-model", 8000, Price(Decimal(1), Decimal(2)))
        return Provider(request.param, fake, providers.ProviderModel(entry, credentials))

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret-key")
    yield start
    for fake in started:
        fake.__exit__()


Start = Callable[..., Provider]


def test_an_answer_has_the_models_text_and_its_tokens(start: Start) -> None:
    provider = start(say("Hello."))
    answer = provider.ask()
    assert (answer.text, answer.calls, answer.finish) == ("Hello.", [], "stop")
    assert (answer.input_tokens, answer.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    [request] = provider.fake.requests
    sent = json.dumps(request.body)
    assert PROMPT in sent
    assert "Be brief." in sent
    assert '"city"' in sent


def test_the_key_and_the_most_tokens_are_what_the_caller_gave(start: Start) -> None:
    provider = start(say("Hello."))
    provider.ask()
    [request] = provider.fake.requests
    match provider.name:
        case "openai":
            assert request.headers["authorization"] == f"Bearer {KEY}"
            assert request.body["max_completion_tokens"] == 50
        case "anthropic":
            assert request.headers["authorization"] == f"Bearer {KEY}"
            assert request.body["max_tokens"] == 50
        case "bedrock":
            assert "Credential=canary-key-id/" in request.headers["authorization"]
            assert request.body["inferenceConfig"]["maxTokens"] == 50


def test_a_tool_loop_of_three_steps_hands_back_calls_and_results(start: Start) -> None:
    provider = start(
        call("weather", {"city": "Oslo"}),
        calls((wire(ODD), {}), ("weather", {"city": "Rome"}), text="And now"),
        say("Rain in Oslo, sun in Rome."),
    )
    first = provider.ask()
    assert first.finish == "tool_calls"
    [oslo] = first.calls
    assert (oslo.name, oslo.arguments) == ("weather", {"city": "Oslo"})
    turns = [Turn(journaled(first), [ToolReturn(oslo, "rain")])]

    second = provider.ask(conversation(turns))
    odd, rome = second.calls
    assert (second.text, odd.name, odd.arguments) == ("And now", ODD.name, {})
    turns.append(Turn(journaled(second), [ToolReturn(odd, "nothing"), ToolReturn(rome, "sun")]))

    last = provider.ask(conversation(turns))
    assert (last.text, last.calls, last.finish) == ("Rain in Oslo, sun in Rome.", [], "stop")
    assert len(provider.fake.requests) == 3
    history = exchanged(provider.name, provider.fake.requests[2].body)
    assert history == [
        ("call", oslo.id, "weather", {"city": "Oslo"}),
        ("result", oslo.id, "rain"),
        ("call", odd.id, wire(ODD), {}),
        ("call", rome.id, "weather", {"city": "Rome"}),
        ("result", odd.id, "nothing"),
        ("result", rome.id, "sun"),
    ]


def test_a_tool_that_the_model_invents_comes_back_as_it_wrote_it(start: Start) -> None:
    provider = start(call("rm -rf /", {"now": True}), say("Well."))
    answer = provider.ask()
    [invented] = answer.calls
    assert (invented.name, invented.arguments) == ("rm -rf /", {"now": True})
    provider.ask(conversation([Turn(journaled(answer), [ToolReturn(invented, "no such tool")])]))
    [asked, told] = exchanged(provider.name, provider.fake.requests[1].body)
    assert asked == ("call", invented.id, "rm_-rf__", {"now": True})
    assert told == ("result", invented.id, "no such tool")


@pytest.mark.parametrize("arguments", ['{"city": ', '["Oslo"]', "Oslo"])
def test_arguments_that_are_no_object_come_back_as_text(start: Start, arguments: str) -> None:
    provider = start(call("weather", arguments), say("Well."))
    answer = provider.ask()
    [asked] = answer.calls
    assert asked.arguments == arguments
    provider.ask(conversation([Turn(journaled(answer), [ToolReturn(asked, "no object")])]))
    told = exchanged(provider.name, provider.fake.requests[1].body)[1]
    assert told == ("result", asked.id, "no object")


def test_a_rate_limit_is_waited_for_and_tried_again(start: Start) -> None:
    provider = start(status(429, retry_after=1), say("Hello."))
    begun = time.monotonic()
    assert provider.ask().text == "Hello."
    assert len(provider.fake.requests) == 2
    if provider.name != "bedrock":  # which says no such thing, and its client waits by itself
        assert time.monotonic() - begun >= 1


def test_a_rate_limit_that_outlasts_the_run_is_not_waited_for(start: Start) -> None:
    provider = start(status(429, retry_after=30))
    with Stopwatch() as watch:
        assert provider.fail(seconds=8).reason == "rate_limited"
    assert watch.seconds < 8
    assert len(provider.fake.requests) == (3 if provider.name == "bedrock" else 1)


@pytest.mark.parametrize(
    ("code", "reason", "attempts"),
    [
        (429, "rate_limited", 3),
        (500, "provider_unavailable", 3),
        (400, "request_refused", 1),
        (403, "credentials_refused", 1),
        (404, "request_refused", 1),
    ],
)
def test_a_provider_that_goes_on_failing_gets_three_requests_at_most(
    start: Start, code: int, reason: str, attempts: int
) -> None:
    provider = start(status(code))
    assert provider.fail().reason == reason
    assert len(provider.fake.requests) == attempts


@pytest.mark.parametrize("behaviour", [hang(), drip()], ids=["hang", "drip"])
def test_a_provider_that_is_too_slow_is_left_within_the_time_given(
    start: Start, behaviour: Behaviour
) -> None:
    provider = start(behaviour)
    with Stopwatch() as watch:
        assert provider.fail(seconds=0.6).reason == "timeout"
    assert watch.seconds < 1.6
    assert len(provider.fake.requests) == 1


def test_retries_end_with_the_time_given(start: Start) -> None:
    provider = start(status(500), hang())
    with Stopwatch() as watch:
        assert provider.fail(seconds=1.2).reason == "timeout"
    assert watch.seconds < 2.2
    assert len(provider.fake.requests) == 2


def test_a_truncated_answer_is_a_bad_one(start: Start) -> None:
    assert start(truncated()).fail().reason == "bad_answer"


def test_an_answer_of_ten_megabytes_is_not_taken_and_not_asked_for_again(start: Start) -> None:
    provider = start(big(10_000_000))
    assert provider.fail().reason == "output_too_large"
    assert len(provider.fake.requests) == 1


def test_an_answer_of_seven_megabytes_is_taken(start: Start) -> None:
    assert len(start(big(7_000_000)).ask().text) == 7_000_000


def test_a_refusal_and_a_cut_off_answer_are_told_as_such(start: Start) -> None:
    provider = start(refusal("I won't."), say("And so", finish="length"))
    refused = provider.ask()
    assert (refused.text, refused.finish) == ("I won't.", "refusal")
    assert provider.ask().finish == "length"


@pytest.mark.parametrize(
    "behaviour",
    [say("fine"), status(400), status(401), truncated(), drip(), big(10_000_000)],
    ids=["fine", "400", "401", "truncated", "drip", "big"],
)
def test_keys_and_prompts_are_in_no_log_line_and_no_error(
    start: Start, log: StringIO, caplog: pytest.LogCaptureFixture, behaviour: Behaviour
) -> None:
    caplog.set_level(logging.DEBUG)
    provider = start(behaviour)
    try:
        told = provider.ask(seconds=0.5).text
    except ProviderError as error:
        told = f"{error!r} {error.args} {error.__cause__} {error.__context__}"
        told += "".join(traceback.format_exception(error))
        told += f"the log {'has' if error.reason in log.getvalue() else 'lacks'} the reason"
    assert ("has the reason" in told) == (told != "fine")
    assert PROMPT in json.dumps(provider.fake.requests[0].body)
    assert "canary" not in told + log.getvalue() + caplog.text


def test_wire_names_are_unique_and_acceptable() -> None:
    names = ["weather", "wetter?", "wetter!", "wetter__1", "ß" * 100, "x" * 65, "x" * 64, "a b\n"]
    names += ["weather\n"]
    wires = providers.wire_names([ToolSpec(name, "", None) for name in names])
    assert set(wires) == set(names)
    assert len(set(wires.values())) == len(names)
    for wire_name in wires.values():
        assert 1 <= len(wire_name) <= 64
        assert set(wire_name) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
        )
    assert wires["weather"] == "weather"


def wire(tool: ToolSpec) -> str:
    return providers.wire_names(ASKED.tools)[tool.name]


def conversation(turns: list[Turn]) -> ModelRequest:
    return ModelRequest(ASKED.instructions, ASKED.prompt, ASKED.tools, turns)


def journaled(answer: ModelResponse) -> ModelResponse:
    """The answer as the journal gives it back: through JSON."""
    return ModelResponse(
        answer.text,
        [ToolCall(c.id, c.name, c.arguments) for c in answer.calls],
        answer.finish,
        answer.input_tokens,
        answer.output_tokens,
        json.loads(json.dumps(answer.state)),
    )


def exchanged(name: str, body: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The calls and results of a request's history, in order."""
    found: list[tuple[Any, ...]] = []
    for message in body["messages"]:
        if name == "openai":
            for c in message.get("tool_calls", []):
                function = c["function"]
                arguments = json.loads(function["arguments"])
                found.append(("call", c["id"], function["name"], arguments))
            if message["role"] == "tool":
                found.append(("result", message["tool_call_id"], message["content"]))
            continue
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block.get("type") == "tool_use":
                found.append(("call", block["id"], block["name"], block["input"]))
            elif block.get("type") == "tool_result":
                content = block["content"]
                text = content if isinstance(content, str) else content[0]["text"]
                found.append(("result", block["tool_use_id"], text))
            elif asked := block.get("toolUse"):
                found.append(("call", asked["toolUseId"], asked["name"], asked["input"]))
            elif told := block.get("toolResult"):
                found.append(("result", told["toolUseId"], told["content"][0]["text"]))
    return found
