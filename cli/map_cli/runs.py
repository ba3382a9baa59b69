"""`map runs`, and `map models`."""

import json
import sys
from typing import Annotated, Any
from uuid import UUID

import typer

from map_cli import output
from map_cli.client import Client, idempotency_header
from map_cli.errors import REFUSED, UNAVAILABLE, CommandError
from map_cli.options import Api, AsJson, fields

app = typer.Typer(name="runs", help="Run agents.", no_args_is_help=True)

MODELS = ("name", "provider", "context_tokens", "input_usd_per_million", "output_usd_per_million")
STEPS = ("number", "kind", "tool", "status", "arguments", "result", "duration_ms")

Run = Annotated[UUID, typer.Argument(metavar="RUN", help="Id of the run")]
Step = Annotated[int, typer.Argument(help="Number of the step that needs approval")]
Comment = Annotated[str | None, typer.Option(help="The reason, for the history")]


def list_models(api: Api, as_json: AsJson = False) -> None:
    """List the models that agents can use, with their prices."""
    output.write_page(api.call("GET", "models"), MODELS, as_json=as_json)


@app.command("start")
def start_run(
    api: Api,
    agent: Annotated[str, typer.Argument(help="Name or id of the agent")],
    prompt: Annotated[str, typer.Argument(help="The prompt; - reads it from stdin")],
    model: Annotated[str, typer.Option(help="A name from `map models`")] = "gpt-4o",
    follow: Annotated[bool, typer.Option("--follow", help="Show each step as it happens")] = False,
    background: Annotated[
        bool, typer.Option("--background", help="Do not wait; write the run's id")
    ] = False,
    max_steps: Annotated[
        int | None, typer.Option(help="Model and tool calls; 20 by default")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Input and output; 100 000 by default")
    ] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="In US dollars; 1 by default")] = None,
    timeout_seconds: Annotated[
        int | None, typer.Option(help="Working time; 25 by default, 840 in the background")
    ] = None,
    approval_seconds: Annotated[
        int | None, typer.Option(help="How long a call waits for approval; a day by default")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run an agent, and wait for its response unless --background is given."""
    body = fields(
        prompt=sys.stdin.read() if prompt == "-" else prompt,
        model=model,
        max_steps=max_steps,
        max_tokens=max_tokens,
        max_cost_usd=max_cost_usd,
        timeout_seconds=timeout_seconds,
        approval_seconds=approval_seconds,
    )
    headers = idempotency_header() | ({"Prefer": "respond-async"} if follow or background else {})
    agent_id = api.id_of("agents", name=agent)
    run = api.call("POST", "agents", agent_id, "run", body=body, headers=headers)
    if run["warning"]:
        output.note(run["warning"])
    if run["status"] != "queued":  # without a background worker, a run is synchronous
        if as_json:
            output.write_json(run)
        elif run["response"]:
            output.write_text(run["response"])
        _report_outcome(run)
    elif follow:
        _follow(api, run["execution_id"], as_json=as_json)
    elif as_json:
        output.write_json(run)
    else:
        output.write_text(run["execution_id"])
        output.note(f"The run continues in the background: `map runs follow {run['execution_id']}`")


@app.command("follow")
def follow_run(api: Api, run: Run, as_json: AsJson = False) -> None:
    """Show each step of a run, from the first on, then its response."""
    _follow(api, str(run), as_json=as_json)


@app.command("get")
def get_run(api: Api, run: Run, as_json: AsJson = False) -> None:
    """Show a run's state, usage and cost."""
    output.write_record(api.call("GET", "executions", run), as_json=as_json)


@app.command("steps")
def list_steps(api: Api, run: Run, as_json: AsJson = False) -> None:
    """List the steps of a run so far."""
    output.write_page(api.call("GET", "executions", run, "steps"), STEPS, as_json=as_json)


@app.command("cancel")
def cancel_run(api: Api, run: Run, as_json: AsJson = False) -> None:
    """Cancel a run: the current call finishes, and no other starts."""
    output.write_record(api.call("POST", "executions", run, "cancel"), as_json=as_json)


@app.command("approve")
def approve_step(
    api: Api, run: Run, step: Step, comment: Comment = None, as_json: AsJson = False
) -> None:
    """Approve a tool call that a run waits to make."""
    _decide(api, run, step, "approve", comment, as_json=as_json)


@app.command("reject")
def reject_step(
    api: Api, run: Run, step: Step, comment: Comment = None, as_json: AsJson = False
) -> None:
    """Reject a tool call that a run waits to make; the model gets to know."""
    _decide(api, run, step, "reject", comment, as_json=as_json)


def _decide(
    api: Client, run: UUID, step: int, decision: str, comment: str | None, *, as_json: bool
) -> None:
    body = fields(decision=decision, comment=comment)
    path = ("executions", run, "approvals", step)
    output.write_record(api.call("POST", *path, body=body), as_json=as_json)


def _follow(api: Client, run: str, *, as_json: bool) -> None:
    """Show the events of a run and its outcome; raises CommandError if it failed."""
    outcome = None
    try:
        for event in api.follow(run):
            data = json.loads(event.data)
            if event.event == "run_finished":
                outcome = data
            if as_json:
                output.write_json({"event": event.event} | data, indent=None)
            elif not outcome:
                output.write_text(_step_line(run, event.event, data))
    except (KeyboardInterrupt, CommandError) as error:
        if isinstance(error, KeyboardInterrupt) or error.exit_code == UNAVAILABLE:
            output.note(f"The run continues: `map runs follow {run}`, or `map runs cancel {run}`")
        raise
    if outcome is None:  # the connection was lost after the last event
        outcome = api.call("GET", "executions", run)
    if outcome["response"] and not as_json:
        output.write_text(f"\n{outcome['response']}")
    _report_outcome(outcome)


def _step_line(run: str, event: str, step: dict[str, Any]) -> str:
    """Return the line for a step that started or finished."""
    number, kind = step["number"], step["kind"]
    if event == "step_finished":
        return f"step {number}: {step['status']}"
    what = kind if step["tool"] is None else f"{kind} {step['tool']}"
    if step["arguments"] is not None:
        what += f" {json.dumps(step['arguments'], ensure_ascii=False)}"
    if kind == "approval":
        what += f": waits for `map runs approve {run} {number}`, or reject"
    return f"step {number}: {what}"


def _report_outcome(run: dict[str, Any]) -> None:
    """Write a run's status and usage; raises CommandError if it did not complete."""
    used = run.get("usage", run)
    steps = f"{used['steps']} step{'s' if used['steps'] != 1 else ''}"
    tokens = f"{used['input_tokens'] + used['output_tokens']} tokens"
    cost = f"{output.format_value(used['cost_usd'])} US dollars"
    note = f"{run['status']} ({run['stop_reason']}): {steps}, {tokens}, {cost}"
    if run["status"] != "completed":
        raise CommandError(note, REFUSED)
    output.note(note)
