"""The budgets' script against Postgres as plain Python has it, in any order of events.

Calls begin, ask, are made, end and are told of, each a step of its own, while Redis forgets,
callers die, time passes and limits change. Whatever is granted must fit into the budget together
with all that is under way; and the books must agree in the end.
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
from redis.crc import key_slot

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
    """A model call, as Postgres has it (first) and as its caller knows it."""

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
    maker: str = ""
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
        self.keys = [name, f"{name}:open"]
        self.now = 1_000 * MONTH + DAY // 2
        self.since: int | None = self.now
        self.limits = [1000, 2500]
        self.calls: list[Call] = []
        self.told_of_all = True

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

    def under_way(self) -> list[Call]:
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
    def asks(self, data: st.DataObject, again: bool) -> None:
        self.ask(data.draw(st.sampled_from(self.those("begun"))), again=again)

    @rule(of_input=st.integers(1, 100), output=st.integers(1, 600), again=st.booleans())
    def begin_and_go_all_the_way(self, of_input: int, output: int, again: bool) -> None:
        """Nothing else happens meanwhile."""
        self.begin(of_input, output)
        call = self.calls[-1]
        while call.state in {"begun", "to make", "to install"}:
            before = call.state
            if before == "begun":
                self.ask(call, again=again)
            else:
                {"to make": self.look, "to install": self.install}[before](call)
            if call.state == before:
                return  # another makes the books

    def ask(self, call: Call, *, again: bool = False) -> None:
        limits = list(self.limits)
        maker = str(uuid4())
        for _ in range(1 + again):  # an answer may be lost
            answer = self.run(
                *("reserve", call.id, call.now, call.lease, str(call.since), maker),
                *(call.input, call.output, INPUT_PRICE, OUTPUT_PRICE, *limits),
            )
        if answer[0] == 1:
            assert min(call.output, 256) <= answer[1] <= call.output
            call.state, call.granted = "under way", answer[1]
            if call.since == self.since:  # or the budget was lifted since the call began
                self.check_room(limits)
        elif answer[0] == 0:
            call.state = "refused"
            assert 0 <= answer[2] <= limits[answer[1] - 1]
        elif answer[1]:
            call.state, call.maker = "to make", maker

    def check_room(self, limits: list[int]) -> None:
        used = self.used()
        live = self.those("under way", "unbudgeted")
        amounts = [priced(call.input, call.granted) for call in live]
        for which in (0, 1):
            held = sum(amount[which] for amount in amounts)
            assert used[which] + held <= limits[which]

    @precondition(lambda self: self.those("to make"))
    @rule(data=st.data())
    def looks(self, data: st.DataObject) -> None:
        self.look(data.draw(st.sampled_from(self.those("to make"))))

    def look(self, call: Call) -> None:
        day = self.now // DAY * DAY
        told: list[Any] = [str(self.since), day, day + DAY, *self.used()]
        for other in self.under_way():
            told += [other.id, *other.reserved, other.lease]
        call.snapshot = told
        call.now, call.since, call.state = self.now, self.since, "to install"

    @precondition(lambda self: self.those("to install"))
    @rule(data=st.data())
    def installs(self, data: st.DataObject) -> None:
        self.install(data.draw(st.sampled_from(self.those("to install"))))

    def install(self, call: Call) -> None:
        self.run("install", call.maker, *call.snapshot)
        call.state = "begun"
        if call.since is None:
            call.state, call.granted = "unbudgeted", call.output

    @precondition(lambda self: self.those("under way", "unbudgeted", "refused"))
    @rule(data=st.data(), share=st.floats(0, 1), told=st.booleans())
    def finish(self, data: st.DataObject, share: float, told: bool) -> None:
        call = data.draw(st.sampled_from(self.those("under way", "unbudgeted", "refused")))
        call.done = self.now
        if call.state != "refused":
            call.tokens, call.nano = priced(
                int(share * call.input), int(share * call.granted) if share < 0.9 else call.granted
            )
        if call.state == "unbudgeted":
            call.state, self.told_of_all = "over", False
            return
        call.state = "finished"
        if told:
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
        """What a call used whose caller died, nobody knows."""
        if not really:
            return
        call = data.draw(st.sampled_from(self.calls))
        call.state = "over"
        self.told_of_all = False

    @rule(really=RARELY)
    def forget(self, really: bool) -> None:
        if really:
            self.redis.delete(*self.keys)

    @rule(seconds=st.sampled_from([1, 10, 10, 10, LEASE, DAY, MONTH, "till nearly midnight"]))
    def time_passes(self, seconds: int | str) -> None:
        """Nobody works on after its lease."""
        self.now += seconds if isinstance(seconds, int) else DAY - 15 - self.now % DAY
        for call in self.calls:
            if call.state != "over" and call.done is None and call.lease <= self.now:
                call.state = "over"
                self.told_of_all = False

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
        for call in self.those("under way", "refused", "unbudgeted"):
            call.done, call.state = self.now, "finished"
        for call in self.those("finished"):
            self.settle(call)
        waiting = self.those("begun", "to make", "to install")
        if waiting or not self.told_of_all:
            self.now += LEASE
        for _ in range(2):
            if self.peek()[0] != -1:
                break
            self.redis.delete(*self.keys)
            day = self.now // DAY * DAY
            assert self.peek() == [-1, 1]
            self.run("install", "maker", str(self.since), day, day + DAY, *self.used())
        books = self.redis.hgetall(self.keys[0])
        assert (int(books["tokens"]), int(books["nano"])) == self.used()
        assert (books["held_tokens"], books["held_nano"]) == ("0", "0")
        assert not self.redis.exists(self.keys[1])
        self.redis.delete(*self.keys)

    def peek(self) -> list[int]:
        return self.run(
            *("reserve", "", self.now, 0, str(self.since), "maker"), *(1, 1, 1, 1, "", "")
        )


@pytest.mark.parametrize("steps", [10, 50])
def test_no_order_of_events_overdraws_a_budget_or_leaves_the_books_apart(
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


# ── One by one ───────────────────────────────────────────────────────────────────────────────────


class Tenant:
    """The script's keys of one tenant, with a budget of 1000 tokens on the first of all days."""

    def __init__(self, redis: Redis) -> None:
        self.redis, self.script = redis, redis.register_script(redis_client.script_text("budget"))
        name = f"budget:{{{uuid4()}}}"
        self.keys = [name, f"{name}:open"]

    def run(self, *arguments: str | int) -> list[int]:
        answer: list[int] = self.script(self.keys, arguments)
        return answer

    def ask(
        self, call: str, tokens: int = 400, *, now: int = 10, maker: str = "maker"
    ) -> list[int]:
        return self.run(
            "reserve", call, now, now + LEASE, "since", maker, 0, tokens, 1, 1, 1000, ""
        )

    def install(self, *told: str | int, maker: str = "maker", day: int = 0) -> list[int]:
        return self.run("install", maker, "since", day, day + DAY, *(told or (0, 0)))

    def books(self) -> dict[str, int]:
        found = self.redis.hgetall(self.keys[0])
        return {name: int(found[name]) for name in ("tokens", "held_tokens") if name in found}


@pytest.fixture
def one(redis: Redis) -> Tenant:
    return Tenant(redis)


def test_one_makes_the_books_and_the_others_wait(one: Tenant) -> None:
    assert one.ask("a", maker="first") == [-1, 1]
    assert one.ask("b", maker="second") == [-1, 0]
    assert one.install(maker="second") == [0]
    assert one.install(maker="first") == [1]
    assert one.install(maker="first") == [0]
    assert one.ask("b") == [1, 400]


def test_books_that_were_read_before_redis_forgot_are_not_installed(one: Tenant) -> None:
    assert one.ask("late", maker="late") == [-1, 1]  # and reads Postgres, slowly
    one.redis.delete(*one.keys)
    assert one.ask("a") == [-1, 1]
    assert one.install() == [1]
    assert one.ask("a", 900) == [1, 900]
    one.redis.delete(*one.keys)
    assert one.install(maker="late") == [0], "it knows nothing of a"


def test_books_that_were_read_before_a_call_was_settled_are_not_installed(one: Tenant) -> None:
    assert one.ask("b") == [-1, 1]
    one.run("settle", "a", 10, 50, 50)
    assert one.install(0, 0, "a", 400, 400, 110) == [0], "a holds nothing any more"
    assert one.ask("b", maker="again") == [-1, 1]


def test_what_is_under_way_is_held_when_the_books_are_made(one: Tenant) -> None:
    one.ask("b")
    one.install(0, 0, "a", 800, 800, 110)
    assert one.ask("b") == [0, 1, 200, 0]
    one.run("settle", "a", 10, 50, 50)
    assert one.ask("b") == [1, 400]


def test_the_books_of_an_earlier_budget_are_made_anew(one: Tenant) -> None:
    one.ask("a")
    one.install()
    assert one.run("reserve", "a", 10, 110, "later", "m", 0, 400, 1, 1, 1000, "") == [-1, 1]


def test_a_call_that_the_books_miss_makes_them_anew(one: Tenant) -> None:
    one.ask("a")
    one.install()
    one.run("settle", "forgotten in a failover", 10, 50, 50)
    assert one.ask("a") == [-1, 1]


def test_a_call_of_yesterday_does_not_count_for_today(one: Tenant) -> None:
    one.ask("a", now=DAY)
    one.install(0, 0, "b", 400, 400, DAY + LEASE, day=DAY)
    one.run("settle", "b", DAY - 1, 50, 50)  # was done before midnight, and tells of it now
    assert one.ask("a", now=DAY) == [-1, 1]


def test_the_books_of_yesterday_are_not_those_of_today(one: Tenant) -> None:
    one.ask("a")
    one.install(1000, 0)
    assert one.ask("a", now=DAY - 1) == [0, 1, 0, 0]
    one.run("settle", "a", DAY - 1, 0, 0)
    assert one.ask("a", now=DAY) == [-1, 1]


def test_to_ask_or_to_tell_twice_is_to_do_it_once(one: Tenant) -> None:
    one.ask("a")
    one.install()
    for tokens in (400, 500, 500):
        assert one.ask("a", tokens) == [1, tokens]
        assert one.books() == {"tokens": 0, "held_tokens": tokens}
    one.run("settle", "a", 10, 50, 50)
    assert one.books() == {"tokens": 50, "held_tokens": 0}
    one.run("settle", "a", 10, 50, 50)
    assert one.books() == {}, "made anew, rather than counted twice"


def test_a_refused_call_is_settled_as_all_are_and_the_books_stay(one: Tenant) -> None:
    one.ask("a")
    one.install(900, 0)
    assert one.ask("a") == [0, 1, 100, 0]
    one.run("settle", "a", 10, 0, 0)
    assert one.books() == {"tokens": 900, "held_tokens": 0}


def test_ids_that_were_lost_without_the_books_make_them_anew(one: Tenant) -> None:
    one.ask("a")
    one.install()
    one.ask("a")
    one.redis.delete(one.keys[1])
    assert one.ask("b") == [-1, 1]


def test_nine_million_dollars_are_counted_to_the_nano_dollar(one: Tenant) -> None:
    one.ask("a")
    most = 2**52
    one.install(most - 1_000_001, most - 1_000_001)
    limits = (1_000_000, 1, 1, most, most)
    assert one.run("reserve", "a", 10, 110, "since", "m", 0, *limits) == [1, 1_000_000]
    one.run("settle", "a", 10, 1_000_000, 1_000_000)
    assert one.books()["tokens"] == most - 1
    assert one.run("reserve", "b", 10, 110, "since", "m", 1, *limits) == [0, 1, 1, 0]


def test_the_keys_share_a_slot_and_leave_by_themselves(one: Tenant) -> None:
    one.ask("a")
    assert 0 < one.redis.ttl(one.keys[0]) <= 5, "whoever makes the books may die"
    one.install()
    one.ask("a")
    assert all(DAY < one.redis.ttl(key) <= 2 * DAY for key in one.keys)
    assert key_slot(one.keys[0].encode()) == key_slot(one.keys[1].encode())
