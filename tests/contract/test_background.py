"""Runs in the background, through the engine of `make run`, whose processes die at every step."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.contract.client import HttpClient
from tests.contract.conftest import LocalStack, finish, start
from tests.contract.tenants import add_tenant, admin
from tests.contract.upstreams import Upstreams, lambda_url
from tests.waiting import until

PROVIDER_KEY = "sk-canary-9d1f4c"
SECRET = "canary-secret-71b2ce"
PROMPT = "canary-prompt-e05a88"
TIMES = ("created_at", "started_at", "waiting_since", "deadline", "expires_at")

# Holds runs where they write: before a step begins, and when its call is over but not yet noted.
HOLDS = """
create table public.holds (case_name text, number integer, way text);
create function public.hold() returns trigger language plpgsql security definer as $$
begin
    if exists (
        select from public.holds h join app.executions e on e.prompt = h.case_name
        where e.id = new.execution_id and h.number = new.number
          and h.way = case when tg_op = 'INSERT' then 'before' else 'after' end
          and (tg_op = 'INSERT' or new.status <> 'running')
    ) then
        perform pg_advisory_xact_lock_shared(4711);
    end if;
    return new;
end
$$;
alter role map_api set lock_timeout = '90s';
alter role map_api set statement_timeout = '90s';
create trigger hold before insert or update on app.execution_steps
    for each row execute function public.hold();
"""


class Platform:
    """A platform with a tenant's client, an agent, and the services that its runs call."""

    def __init__(self, data: Path, upstreams: Upstreams) -> None:
        self.data, self.upstreams = data, upstreams
        self.start()
        [self.key] = add_tenant(self.stack)
        self.connect()
        secret = self.client("PUT", "/secrets/token", {"value": SECRET})
        assert secret.status < 300, secret.text
        self.agent = self.make_agent("put", "send")

    def start(self) -> None:
        self.stack: LocalStack = start(
            self.data,
            *("--sandboxes", "6"),  # as many runs are held, and one more
            OPENAI_API_KEY=PROVIDER_KEY,
            OPENAI_BASE_URL=f"{self.upstreams.model.url}/v1",
        )

    def connect(self) -> None:
        self.client = HttpClient(self.stack.url, self.key)

    def restart(self) -> None:
        """Kill everything at once, and start it again."""
        pids = [self.stack.process.pid, *self.stack.children()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.stack.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        self.client.http.close()
        self.start()
        self.connect()

    def make_agent(self, *tools: str, **fields: Any) -> str:
        made = [
            self.client(
                "POST",
                "/tools",
                {
                    "name": name,
                    "description": "Does it",
                    "endpoint": {
                        "method": "POST",
                        "url": self.upstreams.web.url,
                        "headers": {"Authorization": "Bearer {{secret:token}}"},
                    },
                    "idempotent": name == "put",
                }
                | fields,
            )
            for name in tools
        ]
        assert {answer.status for answer in made} == {201}, made[0].text
        ids = [answer.json["id"] for answer in made]
        agent = {"name": f"Of {tools}", "role": "r", "description": "d", "tool_ids": ids}
        return str(self.client("POST", "/agents", agent).json["id"])

    def begin(self, case: str, agent: str = "", **fields: Any) -> str:
        """Start a run in the background and return its id."""
        answer = self.client(
            "POST",
            f"/agents/{agent or self.agent}/run",
            {"prompt": case, "model": "gpt-4o"} | fields,
            {"Prefer": "respond-async"},
        )
        assert answer.status == 202, answer.text
        return str(answer.json["execution_id"])

    def read(self, path: str) -> Any:
        """Return a document, as soon as all that was killed is there again."""

        def found() -> Any:
            answer = self.client("GET", path)
            assert answer.status in {200, 503}, answer.text
            return answer.json if answer.status == 200 else None

        return until(found)

    def run(self, execution: str) -> dict[str, Any]:
        return dict(self.read(f"/executions/{execution}"))

    def steps(self, execution: str) -> list[dict[str, Any]]:
        return list(self.read(f"/executions/{execution}/steps")["items"])

    def over(self, execution: str) -> dict[str, Any]:
        """Return a run when it is over."""

        def finished() -> dict[str, Any] | None:
            run = self.run(execution)
            return run if run["finished_at"] else None

        return until(finished)

    def waiting(self, execution: str) -> None:
        until(lambda: self.run(execution)["status"] == "waiting_approval")

    @property
    def functions(self) -> Any:
        """A client of Lambda, as the functions themselves have it."""
        self.client("GET", f"/executions/{self.agent}")  # so that there is a sandbox
        [pid, *_] = self.stack.sandboxes("RunsFunction") or self.stack.sandboxes(
            "ExecutionsFunction"
        )
        return boto3.client(
            "lambda",
            "us-east-1",
            endpoint_url=lambda_url(pid),
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def deliver(self, execution: str, name: str) -> None:
        """Start a run once more, as a durable execution of this name."""
        [[tenant]] = self.sql("select tenant_id from app.executions where id = %s", execution)
        self.functions.invoke(
            FunctionName="WorkerFunction:live",
            InvocationType="Event",
            DurableExecutionName=name,
            Payload=json.dumps({"tenant_id": str(tenant), "execution_id": execution}),
        )

    def left_by_the_engine(self, execution: str) -> bool:
        """Tell whether the engine is done with a run."""
        found = self.functions.list_durable_executions_by_function(
            FunctionName="WorkerFunction", DurableExecutionName=execution
        )
        return [known["Status"] for known in found["DurableExecutions"]] == ["SUCCEEDED"]

    def sweep(self) -> dict[str, int]:
        answer = self.functions.invoke(FunctionName="SweepFunction", Qualifier="live")
        return dict(json.load(answer["Payload"]))

    def age(self, execution: str, hours: int) -> None:
        """Let so much time have passed for a run."""
        past = ", ".join(f"{name} = {name} - make_interval(hours => %(hours)s)" for name in TIMES)
        self.sql(f"update app.executions set {past} where id = %(id)s", id=execution, hours=hours)
        self.sql(
            "update app.execution_steps"
            " set expires_at = expires_at - make_interval(hours => %(hours)s)"
            " where execution_id = %(id)s",
            id=execution,
            hours=hours,
        )

    def sql(self, statement: str, *values: Any, **named: Any) -> list[tuple[Any, ...]]:
        with closing(admin(self.stack)) as conn, conn:
            result = conn.execute(statement.encode(), values or named)
            return result.fetchall() if result.description else []

    def kill_workers(self) -> None:
        for pid in self.stack.sandboxes("WorkerFunction"):
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def holding_writes(self, *points: tuple[str, int, str]) -> Iterator[Callable[[], list[int]]]:
        """Hold runs where they write; yields what returns the backends that are held."""
        with closing(admin(self.stack)) as conn:
            conn.autocommit = True
            conn.execute("select pg_advisory_lock(4711)")
            conn.cursor().executemany("insert into public.holds values (%s, %s, %s)", points)
            waits = "select pid from pg_locks where locktype = 'advisory' and not granted"
            yield lambda: [pid for (pid,) in conn.execute(waits)]
            conn.execute("delete from public.holds")
            # What the dead have not written must not be written after all.
            conn.execute(f"select pg_terminate_backend(pid) from ({waits}) held".encode())


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Upstreams(("put", "send")) as upstreams:
        running = Platform(tmp_path_factory.mktemp("background"), upstreams)
        with closing(admin(running.stack)) as conn, conn:
            conn.execute(HOLDS)
        yield running
        running.client.http.close()
        finish(running.stack)


@pytest.mark.parametrize("way", ["in", "after", "before"])
def test_a_worker_killed_at_each_step_and_between_repeats_nothing_that_is_finished(
    platform: Platform, way: str
) -> None:
    upstreams = platform.upstreams
    cases = {f"{way} {step}": step for step in range(1, 6)}
    in_calls = cases.items() if way == "in" else ()
    at_writes = () if way == "in" else [(case, step, way) for case, step in cases.items()]
    with upstreams.holding(*in_calls), platform.holding_writes(*at_writes) as held:
        runs = {case: platform.begin(case) for case in cases}
        for execution in runs.values():
            for name in (execution, execution, f"another-{execution}"):
                platform.deliver(execution, name)
        until(lambda: len(upstreams.held) + len(held()) == len(cases))
        platform.kill_workers()
        until(lambda: not platform.stack.sandboxes("WorkerFunction"))
    for case, step in cases.items():
        run = platform.over(runs[case])
        ended = run["status"], run["stop_reason"], upstreams.counts(case)
        if step == 4 and way != "before":  # nobody knows whether `send` has happened
            assert ended == ("failed", "interrupted", [1, 1, 1, 1]), case
        else:
            again = step if way != "before" else 0
            counts = [2 if number == again else 1 for number in range(1, 6)]
            assert ended == ("completed", "answered", counts), case
            assert run["response"] == f"All done for {case}"
            kinds = [(s["number"], s["kind"], s["status"]) for s in platform.steps(runs[case])]
            plan = ("model", "tool", "model", "tool", "model")
            assert kinds == [(n, kind, "completed") for n, kind in enumerate(plan, 1)]


def test_a_run_that_always_crashes_ends_with_its_reason(platform: Platform) -> None:
    def crash(case: str) -> str:
        platform.kill_workers()
        return case

    platform.upstreams.tool_result = crash
    try:
        run = platform.over(platform.begin("crashing"))
    finally:
        platform.upstreams.tool_result = lambda case: case
    assert (run["status"], run["stop_reason"]) == ("failed", "crashed")
    asked, called = platform.upstreams.counts("crashing")
    assert (asked, called) == (1, 4)  # `put` may be called again; the model's answer was noted


def test_a_cancelled_run_calls_nothing_more(platform: Platform) -> None:
    upstreams = platform.upstreams
    with upstreams.holding(("cancelled", 2)):
        execution = platform.begin("cancelled")
        until(lambda: upstreams.held)
        answer = platform.client("POST", f"/executions/{execution}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "cancelled")
    until(lambda: platform.left_by_the_engine(execution))
    assert platform.run(execution)["stop_reason"] == "cancelled"
    assert upstreams.counts("cancelled") == [1, 1]
    again = platform.client("POST", f"/executions/{execution}/cancel")
    assert (again.status, again.json["status"]) == (200, "cancelled")


def test_a_run_waits_a_day_for_approval_over_a_restart_of_everything(platform: Platform) -> None:
    upstreams = platform.upstreams
    upstreams.plan = ("guarded",)
    agent = platform.make_agent("guarded", requires_approval=True)
    runs = {
        case: platform.begin(case, agent, approval_seconds=2 * 24 * 3600)
        for case in ("approved", "rejected", "expired")
    }
    for case, execution in runs.items():
        platform.waiting(execution)
        platform.age(execution, 49 if case == "expired" else 24)
    platform.restart()
    assert platform.over(runs["expired"])["stop_reason"] == "approval_expired"
    assert platform.sweep()["expired_runs"] == 0
    for case, decision in (("approved", "approve"), ("rejected", "reject")):
        path = f"/executions/{runs[case]}/approvals/2"
        for _ in range(2):
            answer = platform.client("POST", path, {"decision": decision, "comment": "Seen"})
            assert answer.status == 200, answer.text
        run = platform.over(runs[case])
        assert (run["status"], run["response"]) == ("completed", f"All done for {case}")
        other = {"approve": "reject", "reject": "approve"}[decision]
        assert platform.client("POST", path, {"decision": other}).status == 409
    assert [upstreams.calls[case, 2] for case in runs] == [1, 0, 0]  # how often the tool was called
    until(lambda: all(platform.left_by_the_engine(execution) for execution in runs.values()))


def test_a_run_in_the_middle_of_a_call_survives_a_restart_of_everything(platform: Platform) -> None:
    upstreams = platform.upstreams
    upstreams.plan = ("put",)
    with upstreams.holding(("survivor", 3)):
        execution = platform.begin("survivor")
        until(lambda: upstreams.held)
        platform.restart()
        assert platform.over(execution)["status"] == "completed"
    assert upstreams.counts("survivor") == [1, 1, 2]


def test_nothing_stays_and_nothing_secret_is_told(platform: Platform) -> None:
    """Last: over all that the runs above have left behind."""
    platform.upstreams.plan = ("put",)
    platform.upstreams.tool_result = lambda _: f"You sent {SECRET}"
    path, asked = f"/agents/{platform.agent}/run", {"prompt": PROMPT, "model": "gpt-4o"}
    # A sandbox's first run may take longer than a client may wait, on a busy machine.
    until(lambda: platform.client("POST", path, asked).status == 200)
    runs = [platform.begin(PROMPT)]
    assert platform.over(runs[0])["status"] == "completed"
    with platform.upstreams.failing():  # telling the request with its key, as careless providers do
        failed = platform.client("POST", path, asked)
        assert (failed.status, failed.json["error_code"]) == (502, "MODEL_PROVIDER_FAILED")
        runs.append(platform.begin(PROMPT))
        assert platform.over(runs[1])["stop_reason"] == "provider_unavailable"
    assert platform.sql("select count(*) from app.executions where finished_at is null") == [(0,)]
    told = [failed.text, *(f"{platform.run(run)}{platform.steps(run)}" for run in runs)]
    platform.stack.stop()
    logs = [*platform.data.glob("**/*.log"), platform.data.with_name(f"{platform.data.name}.log")]
    told_by = {log.name for log in logs if log.stat().st_size}
    assert {"WorkerFunction.log", "RunsFunction.log", "postgres.log"} <= told_by
    for canary in (PROVIDER_KEY, SECRET, PROMPT):
        assert not [log.name for log in logs if canary in log.read_text()], canary
        assert canary == PROMPT or not [text for text in told if canary in text], canary
