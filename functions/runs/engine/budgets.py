"""A tenant's budgets: a model call holds the most that it may use, until what it used is known.

Postgres has the books, in the steps of runs; Redis decides by a copy, in one script. Why that is
exact, whatever is lost when: `docs/decisions/0020-budgets.md`.
"""

import json
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import overload
from uuid import UUID

from redis import RedisError

from functions.runs.llm.catalogue import CatalogueModel, cost
from functions.runs.llm.messages import Model, ModelRequest
from functions.runs.llm.mock import MockModel
from functions.runs.models import BudgetLedger, StartedStep, TenantBudgets
from mini_agent.data import db, redis_client
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.telemetry import count, logger

PATIENCE_SECONDS = 10.0
"""How long a call waits for Redis, or for books that are being made."""
PEEK_SECONDS = 1.0
PAUSE_SECONDS = 0.05
TOKENS_OF_A_PART = 32
"""What a provider adds to a message or a tool, at most."""
TOKENS_OF_TOOLS = 1024
"""What a provider adds where there are tools, at most."""
OVERLAP = timedelta(seconds=30)
"""So long after a budget was set there may be calls that began without it and are not seen yet."""
LARGEST = 2**52
NANO = 10**9


class BudgetRefused(Exception):
    """A budget has not enough left; `details` say which, how much, and when it renews."""

    def __init__(self, details: dict[str, object]) -> None:
        super().__init__()
        self.details = details


class BudgetUnavailable(Exception):
    """Redis is away, so nobody knows what is left."""


@dataclass(frozen=True, slots=True)
class UsageBound:
    """The most that a model call may use; nothing where it costs nothing."""

    input_tokens: int = 0
    output_tokens: int = 0
    price: CatalogueModel | None = None

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.input_tokens + self.output_tokens

    @property
    def usd(self) -> Decimal:
        """By the model's price."""
        if self.price is None:
            return Decimal(0)
        return cost(self.price, self.input_tokens, self.output_tokens)


def most(
    model: Model, entry: CatalogueModel, asked: ModelRequest, output_tokens: int
) -> UsageBound:
    """Return the most that an answer of so many tokens may use: a token is a byte at least."""
    if isinstance(model, MockModel):
        return UsageBound()
    parts: list[object] = [asked.instructions, asked.prompt, *map(asdict, asked.tools)]
    for turn in asked.turns:
        parts.append(turn.answer.state)
        parts += [[r.call.id, r.call.name, r.content] for r in turn.results]
    size = sum(len(_json(part)) for part in parts) + TOKENS_OF_A_PART * len(parts)
    return UsageBound(size + TOKENS_OF_TOOLS * bool(asked.tools), output_tokens, entry)


def _json(part: object) -> bytes:
    return json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass")


def peek(caller: Caller, budgets: TenantBudgets, wanted: UsageBound) -> None:
    """Raise Refused if a call could not be had now; says nothing where that cannot be told."""
    try:
        _ask(caller, budgets, wanted, "", budgets.now, PEEK_SECONDS)
    except BudgetUnavailable:
        return


def reserve(caller: RunCaller, begun: StartedStep, wanted: UsageBound, seconds: float) -> int:
    """Hold the most that a call may use, or less output where less is left; return its tokens.

    Waits so many seconds at most, and not for long. Raises Refused, Unavailable.
    """
    patience = min(seconds, PATIENCE_SECONDS)
    step = _id(caller, begun.number)
    return _ask(caller, begun, wanted, step, begun.lease_until, patience)


def settle(caller: RunCaller, number: int, done: datetime, tokens: int, usd: Decimal) -> None:
    """Let a call's end, which is committed, be known: it used so much and holds nothing more.

    Where Redis does not hear of it, the books are made anew once the call's lease is over.
    """
    _tell(caller, "settle", _id(caller, number), int(done.timestamp()), tokens, _nano(usd))


def forget(caller: RunCaller) -> None:
    """Let the books be made anew: how a call ended, another attempt has said."""
    _tell(caller, "forget")


def _tell(caller: RunCaller, *told: str | int) -> None:
    try:
        _run(caller.tenant_id, *told)
    except RedisError as error:
        count("BudgetFailures")
        logger.warning("budget not told of a call", extra={"cause": str(error)})


def _ask(
    caller: Caller | RunCaller,
    budgets: TenantBudgets,
    wanted: UsageBound,
    step: str,
    lapses: datetime,
    patience: float,
) -> int:
    end = time.monotonic() + patience
    while budgets.are_there and wanted.price:
        pause = PAUSE_SECONDS
        try:
            maker = secrets.token_hex(8)
            answer = _run(caller.tenant_id, *_asking(budgets, wanted, step, lapses, maker))
            match answer:
                case [1, granted]:
                    return granted
                case [0, which, left, day]:
                    count("BudgetRefusals")
                    raise BudgetRefused(_details(budgets, which, left, day))
                case [-1, 1]:
                    budgets, pause = _make(caller, maker), 0
        except RedisError as error:
            count("BudgetFailures")
            logger.warning("budget away", extra={"cause": str(error)})
        if time.monotonic() + pause > end:
            raise BudgetUnavailable
        time.sleep(pause)
    return wanted.output_tokens


def _asking(
    budgets: TenantBudgets, wanted: UsageBound, step: str, lapses: datetime, maker: str
) -> list[str | int]:
    price = wanted.price
    prices = [_nano(price.input / 1_000_000), _nano(price.output / 1_000_000)] if price else [0, 0]
    limits = [budgets.tokens_per_day, _nano(budgets.spend_per_month_usd)]
    return [
        "reserve",
        step,
        int(budgets.now.timestamp()),
        _after(lapses),
        budgets.version,
        maker,
        wanted.input_tokens,
        wanted.output_tokens,
        *prices,
        *("" if limit is None else min(limit, LARGEST) for limit in limits),
    ]


def _make(caller: Caller | RunCaller, maker: str) -> TenantBudgets:
    """Make the books anew from Postgres, and return the budgets as they are by now."""
    [books] = db.read(caller, db.Query("runs/books", {}, BudgetLedger))
    day = books.now.replace(hour=0, minute=0, second=0, microsecond=0)
    ends = day + timedelta(days=1)
    if books.budgeted_since and books.now < books.budgeted_since + OVERLAP:
        ends = min(ends, books.budgeted_since + OVERLAP)
    told: list[str | int] = [books.version, int(day.timestamp()), int(ends.timestamp())]
    told += [books.tokens, _nano(books.usd)]
    for call in books.under_way:
        told += [call.step, call.tokens, _nano(call.usd), _after(call.lease_until)]
    _run(caller.tenant_id, "install", maker, *told)
    return books


def _run(tenant_id: UUID, *arguments: str | int) -> list[int]:
    key = f"budget:{{{tenant_id}}}"
    answer: list[int] = redis_client.run_script("budget", [key, f"{key}:open"], arguments)
    return answer


def _details(budgets: TenantBudgets, which: int, left: int, day: int) -> dict[str, object]:
    """Return what a client is told of a budget that has not enough left."""
    today = datetime.fromtimestamp(day, UTC)
    if which == 1:
        return {
            "budget": "tokens_per_day",
            "limit": budgets.tokens_per_day,
            "left": left,
            "renews_at": _told(today + timedelta(days=1)),
        }
    return {
        "budget": "spend_per_month_usd",
        "limit": float(budgets.spend_per_month_usd or 0),
        "left": left / NANO,
        "renews_at": _told((today.replace(day=1) + timedelta(days=32)).replace(day=1)),
    }


def _told(time_: datetime) -> str:
    return time_.strftime("%Y-%m-%dT%H:%M:%SZ")


def _after(time_: datetime) -> int:
    """Return the first whole second when a time is over."""
    return int(time_.timestamp()) + 1


def _id(caller: RunCaller, number: int) -> str:
    return f"{caller.execution_id}:{number}"


@overload
def _nano(usd: Decimal) -> int: ...
@overload
def _nano(usd: Decimal | None) -> int | None: ...
def _nano(usd: Decimal | None) -> int | None:
    """Return nano-dollars, rounded up."""
    return None if usd is None else int((usd * NANO).to_integral_value(ROUND_CEILING))
