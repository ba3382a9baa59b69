"""`map runs`, and `map models`."""

import json
import sys
from typing import Annotated, Any
from uuid import UUID

import typer

from map_cli import output
from map_cli.client import Client, once
from map_cli.options import Api, AsJson, given
from map_cli.problem import AWAY, REFUSED, Problem

app = typer.Typer(name="runs", help="Ask agents.", no_args_is_help=True)

MODELS = ("name", "provider", "context_tokens", "input_usd_per_million", "output_usd_per_million")
STEPS = ("number", "kind", "tool", "status", "arguments", "result", "duration_ms")

Run = Annotated[UUID, typer.Argument(metavar="RUN", help="Its id")]
Step = Annotated[int, typer.Argument(help="The number of the step that waits")]
Comment = Annotated[str | None, typer.Option(help="Why")]


def list_models(api: Api, as_json: AsJson = False) -> None:
    """List the models that agents can think with, with their prices."""
    output.page(api.ask("GET", "models"), MODELS, as_json=as_json)


@app.command("start")
def start_run(
    api: Api,
    agent: Annotated[str, typer.Argument(help="Its name or id")],
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin")],
    model: Annotated[str, typer.Option(help="One of `map models`")] = "gpt-4o",
    follow: Annotated[bool, typer.Option("--follow", help="Show each step as it comes")] = False,
    background: Annotated[
        bool, typer.Option("--background", help="Do not wait: answer with the run's id")
    ] = False,
    max_steps: Annotated[int | None, typer.Option(help="Model and tool calls; else 20")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="In and out; else 100 000")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="Else 1")] = None,
    timeout_seconds: Annotated[
        int | None, typer.Option(help="Of work; else 25, or 840 in the background")
    ] = None,
    approval_seconds: Annotated[
        int | None, typer.Option(help="How long a call waits for approval; else a day")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an agent, and wait for its answer unless told otherwise."""
    asked = given(
        prompt=sys.stdin.read() if prompt == "-" else prompt,
        model=model,
        max_steps=max_steps,
        max_tokens=max_tokens,
        max_cost_usd=max_cost_usd,
        timeout_seconds=timeout_seconds,
        approval_seconds=approval_seconds,
    )
    headers = once() | ({"Prefer": "respond-async"} if follow or background else {})
    agent_id = api.id_of("agents", name=agent)
    run = api.ask("POST", "agents", agent_id, "run", body=asked, headers=headers)
    if run["warning"]:
        output.note(run["warning"])
    if run["status"] != "queued":  # also where there is no worker for the background
        if as_json:
            output.document(run)
        elif run["response"]:
            output.say(run["response"])
        _conclude(run)
    elif follow:
        _follow(api, run["execution_id"], as_json=as_json)
    elif as_json:
        output.document(run)
    else:
        output.say(run["execution_id"])
        output.note(f"It goes on in the background: `map runs follow {run['execution_id']}`")


@app.command("follow")
def follow_run(api: Api, run: Run, as_json: AsJson = False) -> None:
    """Show each step of a run as it comes, from the first on, then its answer."""
    _follow(api, str(run), as_json=as_json)


@app.command("get")
def get_run(api: Api, run: Run, as_json: AsJson = False) -> None:
    """Show how far a run is, what it used and what it cost."""
    output.record(api.ask("GET", "executions", run), as_json=as_json)


@app.command("steps")
def list_steps(api: Api, run: Run, as_json: AsJson = False) -> None:
    """List what a run did so far."""
    output.page(api.ask("GET", "executions", run, "steps"), STEPS, as_json=as_json)


@app.command("cancel")
def cancel_run(api: Api, run: Run, as_json: AsJson = False) -> None:
    """Cancel a run: a call that is under way ends, and no other begins."""
    output.record(api.ask("POST", "executions", run, "cancel"), as_json=as_json)


@app.command("approve")
def approve_step(
    api: Api, run: Run, step: Step, comment: Comment = None, as_json: AsJson = False
) -> None:
    """Let a tool call happen that a run waits with."""
    _decide(api, run, step, "approve", comment, as_json=as_json)


@app.command("reject")
def reject_step(
    api: Api, run: Run, step: Step, comment: Comment = None, as_json: AsJson = False
) -> None:
    """Refuse a tool call that a run waits with; the model is told so."""
    _decide(api, run, step, "reject", comment, as_json=as_json)


def _decide(
    api: Client, run: UUID, step: int, decision: str, comment: str | None, *, as_json: bool
) -> None:
    decided = given(decision=decision, comment=comment)
    path = ("executions", run, "approvals", step)
    output.record(api.ask("POST", *path, body=decided), as_json=as_json)


def _follow(api: Client, run: str, *, as_json: bool) -> None:
    """Show the events of a run, and how it ended; raises Problem if it failed."""
    ended = None
    try:
        for event in api.follow(run):
            told = json.loads(event.data)
            if event.event == "run_finished":
                ended = told
            if as_json:
                output.document({"event": event.event} | told, indent=None)
            elif not ended:
                output.say(_line(run, event.event, told))
    except (KeyboardInterrupt, Problem) as stop:
        if isinstance(stop, KeyboardInterrupt) or stop.exit_code == AWAY:
            output.note(f"The run goes on: `map runs follow {run}`, or `map runs cancel {run}`")
        raise
    if ended is None:  # it was over, and its last event seen, before the connection was lost
        ended = api.ask("GET", "executions", run)
    if ended["response"] and not as_json:
        output.say(f"\n{ended['response']}")
    _conclude(ended)


def _line(run: str, event: str, step: dict[str, Any]) -> str:
    """Return what people read of a step's begin or end."""
    number, kind = step["number"], step["kind"]
    if event == "step_finished":
        return f"step {number}: {step['status']}"
    what = kind if step["tool"] is None else f"{kind} {step['tool']}"
    if step["arguments"] is not None:
        what += f" {json.dumps(step['arguments'], ensure_ascii=False)}"
    if kind == "approval":
        what += f": waits for `map runs approve {run} {number}`, or reject"
    return f"step {number}: {what}"


def _conclude(run: dict[str, Any]) -> None:
    """Say how a run ended and what it used; raises Problem if it did not complete."""
    used = run.get("usage", run)
    steps = f"{used['steps']} step{'s' if used['steps'] != 1 else ''}"
    tokens = f"{used['input_tokens'] + used['output_tokens']} tokens"
    cost = f"{output.cell(used['cost_usd'])} US dollars"
    note = f"{run['status']} ({run['stop_reason']}): {steps}, {tokens}, {cost}"
    if run["status"] != "completed":
        raise Problem(note, REFUSED)
    output.note(note)
