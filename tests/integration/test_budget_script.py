"""The script of budgets against a model of Postgres in plain Python, in any order of events.

Calls begin, reserve, are made, finish and settle, each a step of its own, while Redis forgets,
callers die, time passes and limits change. Whatever is granted must fit into the budget with all
pending calls, and the ledgers must agree in the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis
from redis.commands.core import Script

from local import backends
from mini_agent.data import redis_client

LEASE, DAY, MONTH = 100, 86_400, 30 * 86_400
INPUT_PRICE, OUTPUT_PRICE = 2, 3
RARELY = st.sampled_from([False, False, False, True])


@pytest.fixture(scope="module")
def redis(redis_server: backends.Server) -> Iterator[Redis]:
    with Redis(unix_socket_path=redis_server.socket, decode_responses=True) as client:
        yield client


@dataclass
class Call:
    """A model call: first as Postgres has it, then as its caller knows it."""

    id: str
    input: int
    output: int
    lease: int
    done: int | None = None
    tokens: int = 0
    nano: int = 0

    now: int = 0
    since: int | None = None
    state: str = "begun"
    granted: int = 0
    rebuilder: str = ""
    snapshot: list[Any] = field(default_factory=list)

    @property
    def reserved(self) -> tuple[int, int]:
        return priced(self.input, self.output)


def priced(of_input: int, of_output: int) -> tuple[int, int]:
    return of_input + of_output, of_input * INPUT_PRICE + of_output * OUTPUT_PRICE


class Budgets(RuleBasedStateMachine):
    """One tenant."""

    redis: Redis
    script: Script

    def __init__(self) -> None:
        super().__init__()
        name = f"budget:{{{uuid4()}}}"
        self.keys = [name, f"{name}:calls"]
        self.now = 1_000 * MONTH + DAY // 2
        self.since: int | None = self.now
        self.limits = [1000, 2500]
        self.calls: list[Call] = []
        self.all_settled = True

    def run(self, *arguments: str | int) -> list[int]:
        answer: list[int] = self.script(self.keys, arguments)
        return answer

    def those(self, *states: str) -> list[Call]:
        return [call for call in self.calls if call.state in states]

    # ── What Postgres knows ─────────────────────────────────────────────────────────────────────
    def used(self) -> tuple[int, int]:
        """Return the tokens of today and the nano-dollars of this month."""
        done = [(call, call.done) for call in self.calls if call.done is not None]
        tokens = sum(call.tokens for call, at in done if at // DAY == self.now // DAY)
        nano = sum(call.nano for call, at in done if at // MONTH == self.now // MONTH)
        return tokens, nano

    def pending(self) -> list[Call]:
        return [call for call in self.calls if call.done is None and call.lease > self.now]

    # ── A call ──────────────────────────────────────────────────────────────────────────────────
    @rule(of_input=st.integers(1, 100), output=st.integers(1, 600))
    def begin(self, of_input: int, output: int) -> None:
        call = Call(str(uuid4()), of_input, output, self.now + LEASE)
        call.now, call.since = self.now, self.since
        if self.since is None:
            call.state, call.granted = "unbudgeted", output
        self.calls.append(call)

    @precondition(lambda self: self.those("begun"))
    @rule(data=st.data(), again=st.booleans())
    def reserves(self, data: st.DataObject, again: bool) -> None:
        self.reserve(data.draw(st.sampled_from(self.those("begun"))), again=again)

    @rule(of_input=st.integers(1, 100), output=st.integers(1, 600), again=st.booleans())
    def begin_and_go_all_the_way(self, of_input: int, output: int, again: bool) -> None:
        """Nothing else happens meanwhile."""
        self.begin(of_input, output)
        call = self.calls[-1]
        while call.state in {"begun", "to read", "to install"}:
            before = call.state
            if before == "begun":
                self.reserve(call, again=again)
            else:
                {"to read": self.read, "to install": self.install}[before](call)
            if call.state == before:
                return  # another caller rebuilds the ledger

    def reserve(self, call: Call, *, again: bool = False) -> None:
        limits = list(self.limits)
        rebuilder = str(uuid4())
        for _ in range(1 + again):  # a response may be lost
            answer = self.run(
                *("reserve", call.id, call.now, call.lease, str(call.since), rebuilder),
                *(call.input, call.output, INPUT_PRICE, OUTPUT_PRICE, *limits),
            )
        if answer[0] == 1:
            assert min(call.output, 256) <= answer[1] <= call.output
            call.state, call.granted = "pending", answer[1]
            if call.since == self.since:  # or the budget was lifted since the call began
                self.check_room(limits)
        elif answer[0] == 0:
            call.state = "refused"
            assert 0 <= answer[2] <= limits[answer[1] - 1]
        elif answer[1]:
            call.state, call.rebuilder = "to read", rebuilder

    def check_room(self, limits: list[int]) -> None:
        used = self.used()
        live = self.those("pending", "unbudgeted")
        amounts = [priced(call.input, call.granted) for call in live]
        for which in (0, 1):
            reserved = sum(amount[which] for amount in amounts)
            assert used[which] + reserved <= limits[which]

    @precondition(lambda self: self.those("to read"))
    @rule(data=st.data())
    def reads(self, data: st.DataObject) -> None:
        self.read(data.draw(st.sampled_from(self.those("to read"))))

    def read(self, call: Call) -> None:
        day = self.now // DAY * DAY
        snapshot: list[Any] = [str(self.since), day, day + DAY, *self.used()]
        for other in self.pending():
            snapshot += [other.id, *other.reserved, other.lease]
        call.snapshot = snapshot
        call.now, call.since, call.state = self.now, self.since, "to install"

    @precondition(lambda self: self.those("to install"))
    @rule(data=st.data())
    def installs(self, data: st.DataObject) -> None:
        self.install(data.draw(st.sampled_from(self.those("to install"))))

    def install(self, call: Call) -> None:
        self.run("install", call.rebuilder, *call.snapshot)
        call.state = "begun"
        if call.since is None:
            call.state, call.granted = "unbudgeted", call.output

    @precondition(lambda self: self.those("pending", "unbudgeted", "refused"))
    @rule(data=st.data(), share=st.floats(0, 1), settled=st.booleans())
    def finish(self, data: st.DataObject, share: float, settled: bool) -> None:
        call = data.draw(st.sampled_from(self.those("pending", "unbudgeted", "refused")))
        call.done = self.now
        if call.state != "refused":
            call.tokens, call.nano = priced(
                int(share * call.input), int(share * call.granted) if share < 0.9 else call.granted
            )
        if call.state == "unbudgeted":
            call.state, self.all_settled = "over", False
            return
        call.state = "finished"
        if settled:
            self.settle(call)

    @precondition(lambda self: self.those("finished"))
    @rule(data=st.data(), again=st.booleans())
    def settles(self, data: st.DataObject, again: bool) -> None:
        self.settle(data.draw(st.sampled_from(self.those("finished"))), again=again)

    def settle(self, call: Call, *, again: bool = False) -> None:
        for _ in range(1 + again):
            self.run("settle", call.id, call.done or 0, call.tokens, call.nano)
        call.state = "over"

    # ── What goes wrong ─────────────────────────────────────────────────────────────────────────
    @precondition(lambda self: self.calls)
    @rule(data=st.data(), really=RARELY)
    def die(self, data: st.DataObject, really: bool) -> None:
        """Nobody knows what a call used whose caller died."""
        if not really:
            return
        call = data.draw(st.sampled_from(self.calls))
        call.state = "over"
        self.all_settled = False

    @rule(really=RARELY)
    def forget(self, really: bool) -> None:
        if really:
            self.redis.delete(*self.keys)

    @rule(seconds=st.sampled_from([1, 10, 10, 10, LEASE, DAY, MONTH, "till nearly midnight"]))
    def time_passes(self, seconds: int | str) -> None:
        """Nobody works on after the lease."""
        self.now += seconds if isinstance(seconds, int) else DAY - 15 - self.now % DAY
        for call in self.calls:
            if call.state != "over" and call.done is None and call.lease <= self.now:
                call.state = "over"
                self.all_settled = False

    @rule(tokens=st.integers(0, 2000), nano=st.integers(0, 5000))
    def change_limits(self, tokens: int, nano: int) -> None:
        self.limits = [tokens, nano]

    @rule(really=RARELY)
    def lift_or_set_budget(self, really: bool) -> None:
        if not really:
            return
        if self.since is None:
            self.now += 1
            self.since = self.now
        else:
            self.since = None

    # ── The end ─────────────────────────────────────────────────────────────────────────────────
    def teardown(self) -> None:
        if self.since is None:
            self.lift_or_set_budget(really=True)
        for call in self.those("pending", "refused", "unbudgeted"):
            call.done, call.state = self.now, "finished"
        for call in self.those("finished"):
            self.settle(call)
        waiting = self.those("begun", "to read", "to install")
        if waiting or not self.all_settled:
            self.now += LEASE
        for _ in range(2):
            if self.check()[0] != -1:
                break
            self.redis.delete(*self.keys)
            day = self.now // DAY * DAY
            assert self.check() == [-1, 1]
            self.run("install", "rebuilder", str(self.since), day, day + DAY, *self.used())
        ledger = self.redis.hgetall(self.keys[0])
        assert (int(ledger["tokens"]), int(ledger["nano"])) == self.used()
        assert (ledger["reserved_tokens"], ledger["reserved_nano"]) == ("0", "0")
        assert not self.redis.exists(self.keys[1])
        self.redis.delete(*self.keys)

    def check(self) -> list[int]:
        return self.run(
            *("reserve", "", self.now, 0, str(self.since), "rebuilder"), *(1, 1, 1, 1, "", "")
        )


@pytest.mark.parametrize("steps", [10, 50])
def test_no_order_of_events_overdraws_a_budget_or_leaves_the_ledgers_apart(
    redis: Redis, steps: int
) -> None:
    class Machine(Budgets):
        script = redis.register_script(redis_client.script_text("budget"))

    Machine.redis = redis
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
