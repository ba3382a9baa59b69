"""A tenant's budgets: a model call reserves the most that it may use, until its usage is known.

The ledger is in Postgres, in the steps of runs; Redis decides by a copy, in one script. Why that is
exact, whatever is lost when: `docs/decisions/0017-budgets.md`.
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

from functions.runs.engine.records import BudgetLedger, StartedStep, TenantBudgets
from functions.runs.llm.catalogue import Price
from functions.runs.llm.messages import ModelRequest
from mini_agent.data import db, redis_client
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.telemetry import count, logger

MAX_WAIT_SECONDS = 10.0
"""How long a call waits for Redis, or for the ledger that another caller rebuilds."""
MAX_CHECK_SECONDS = 1.0
"""How long a request waits for the same before its run is created."""
RETRY_SECONDS = 0.05
PART_TOKENS = 32
"""What a provider adds to a message or a tool, at most."""
TOOLS_TOKENS = 1024
"""What a provider adds where there are tools, at most."""
OVERLAP = timedelta(seconds=30)
"""For how long after a first budget was set a call that began without it may go unseen."""
MAX_LIMIT = 2**52
NANO = 10**9


class BudgetRefused(Exception):
    """Too little is left of a budget; `details` say of which, how much, and when it renews."""

    def __init__(self, details: dict[str, object]) -> None:
        super().__init__()
        self.details = details


class BudgetUnavailable(Exception):
    """Redis is away, so nobody knows what is left."""


@dataclass(frozen=True, slots=True)
class UsageBound:
    """The most that a model call may use; a free model's counts for nothing."""

    input_tokens: int = 0
    output_tokens: int = 0
    price: Price | None = None

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens if self.price else 0

    @property
    def usd(self) -> Decimal:
        """US dollars."""
        return self.price.cost(self.input_tokens, self.output_tokens) if self.price else Decimal(0)


def usage_bound(price: Price | None, request: ModelRequest, output_tokens: int) -> UsageBound:
    """Return the most that a response of so many tokens may use.

    A token is at least a byte of the request, so its bytes bound the tokens in.
    """
    if price is None:
        return UsageBound(output_tokens=output_tokens)
    parts: list[object] = [request.instructions, request.prompt, *map(asdict, request.tools)]
    for turn in request.turns:
        parts.append(turn.response.state)
        parts += [[r.call.id, r.call.name, r.content] for r in turn.results]
    input_tokens = sum(len(_json(part)) for part in parts) + PART_TOKENS * len(parts)
    if request.tools:
        input_tokens += TOOLS_TOKENS
    return UsageBound(input_tokens, output_tokens, price)


def _json(part: object) -> bytes:
    return json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass")


def check_budget(caller: Caller, budgets: TenantBudgets, bound: UsageBound) -> None:
    """Raise BudgetRefused if a call could not be reserved now; pass while Redis is away."""
    try:
        _reserve(caller, budgets, bound, "", budgets.now, MAX_CHECK_SECONDS)
    except BudgetUnavailable:
        return


def reserve(caller: RunCaller, step: StartedStep, bound: UsageBound, seconds: float) -> int:
    """Reserve the most that a call may use, or less output where less is left; return its tokens.

    Waits at most so many seconds. Raises BudgetRefused, BudgetUnavailable.
    """
    wait = min(seconds, MAX_WAIT_SECONDS)
    return _reserve(caller, step, bound, _call_id(caller, step.number), step.lease_until, wait)


def settle(
    caller: RunCaller, number: int, finished_at: datetime, tokens: int, usd: Decimal
) -> None:
    """Replace a call's reservation by what it used, once that is committed.

    If Redis does not get this, the ledger is rebuilt when the call's lease is over.
    """
    _notify(
        caller, "settle", _call_id(caller, number), int(finished_at.timestamp()), tokens, _nano(usd)
    )


def drop_ledger(caller: RunCaller) -> None:
    """Have the ledger rebuilt: another attempt decided how a call ended."""
    _notify(caller, "drop")


def _notify(caller: RunCaller, *arguments: str | int) -> None:
    try:
        _run_script(caller.tenant_id, *arguments)
    except RedisError as error:
        count("BudgetFailures")
        logger.warning("budget not told of a call", extra={"cause": str(error)})


def _reserve(
    caller: Caller | RunCaller,
    budgets: TenantBudgets,
    bound: UsageBound,
    call_id: str,
    expires_at: datetime,
    wait: float,
) -> int:
    """Ask the script until it decides; without a call's id nothing is reserved."""
    deadline = time.monotonic() + wait
    while budgets.has_budget and bound.price:
        pause = RETRY_SECONDS
        try:
            rebuilder = secrets.token_hex(8)
            arguments = _reserve_arguments(budgets, bound, call_id, expires_at, rebuilder)
            match _run_script(caller.tenant_id, *arguments):
                case [1, granted]:
                    return granted
                case [0, which, left, day]:
                    count("BudgetRefusals")
                    raise BudgetRefused(_details(budgets, which, left, day))
                case [-1, 1]:
                    budgets, pause = _rebuild_ledger(caller, rebuilder), 0
        except RedisError as error:
            count("BudgetFailures")
            logger.warning("budget away", extra={"cause": str(error)})
        if time.monotonic() + pause > deadline:
            raise BudgetUnavailable
        time.sleep(pause)
    return bound.output_tokens


def _reserve_arguments(
    budgets: TenantBudgets, bound: UsageBound, call_id: str, expires_at: datetime, rebuilder: str
) -> list[str | int]:
    price = bound.price
    prices = [_nano(price.input / 1_000_000), _nano(price.output / 1_000_000)] if price else [0, 0]
    limits = [budgets.tokens_per_day, _nano(budgets.spend_per_month_usd)]
    return [
        "reserve",
        call_id,
        int(budgets.now.timestamp()),
        _next_second(expires_at),
        budgets.version,
        rebuilder,
        bound.input_tokens,
        bound.output_tokens,
        *prices,
        *("" if limit is None else min(limit, MAX_LIMIT) for limit in limits),
    ]


def _rebuild_ledger(caller: Caller | RunCaller, rebuilder: str) -> TenantBudgets:
    """Copy the ledger from Postgres to Redis, and return the budgets of that moment."""
    [ledger] = db.read(caller, db.Query("runs/get_budget_ledger", {}, BudgetLedger))
    day = ledger.now.replace(hour=0, minute=0, second=0, microsecond=0)
    expires_at = day + timedelta(days=1)
    if ledger.budgeted_since and ledger.now < ledger.budgeted_since + OVERLAP:
        expires_at = min(expires_at, ledger.budgeted_since + OVERLAP)
    arguments: list[str | int] = [ledger.version, int(day.timestamp()), int(expires_at.timestamp())]
    arguments += [ledger.tokens, _nano(ledger.usd)]
    for call in ledger.pending_calls:
        arguments += [call.step, call.tokens, _nano(call.usd), _next_second(call.lease_until)]
    _run_script(caller.tenant_id, "install", rebuilder, *arguments)
    return ledger


def _run_script(tenant_id: UUID, *arguments: str | int) -> list[int]:
    key = f"budget:{{{tenant_id}}}"
    answer: list[int] = redis_client.run_script("budget", [key, f"{key}:calls"], arguments)
    return answer


def _details(budgets: TenantBudgets, which: int, left: int, day: int) -> dict[str, object]:
    """Return a refusal's details for the client."""
    today = datetime.fromtimestamp(day, UTC)
    if which == 1:
        return {
            "budget": "tokens_per_day",
            "limit": budgets.tokens_per_day,
            "left": left,
            "renews_at": _iso(today + timedelta(days=1)),
        }
    return {
        "budget": "spend_per_month_usd",
        "limit": float(budgets.spend_per_month_usd or 0),
        "left": left / NANO,
        "renews_at": _iso((today.replace(day=1) + timedelta(days=32)).replace(day=1)),
    }


def _iso(time_: datetime) -> str:
    return time_.strftime("%Y-%m-%dT%H:%M:%SZ")


def _next_second(time_: datetime) -> int:
    """Return the first whole second after a time."""
    return int(time_.timestamp()) + 1


def _call_id(caller: RunCaller, number: int) -> str:
    return f"{caller.execution_id}:{number}"


@overload
def _nano(usd: Decimal) -> int: ...
@overload
def _nano(usd: Decimal | None) -> int | None: ...
def _nano(usd: Decimal | None) -> int | None:
    """Return nano-dollars, rounded up."""
    return None if usd is None else int((usd * NANO).to_integral_value(ROUND_CEILING))
