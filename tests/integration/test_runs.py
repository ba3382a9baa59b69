"""Runs, through the Lambda handler."""

from io import StringIO
from uuid import uuid4

import pytest

from functions.runs.llm import catalogue
from tests.conftest import Connection
from tests.integration.client import RUN, Client, refused_fields


def test_a_run_is_told_in_full(client: Client) -> None:
    tools = [client.tool(name) for name in ("web", "mail")]
    agent = client.agent("Ann", role="researcher", tool_ids=[tool["id"] for tool in tools])
    answer = client("POST", f"/agents/{agent['id']}/run", {"prompt": " Hi ", "model": "gpt-4o"})
    assert answer.status == 200
    run = answer.json
    assert run.pop("execution_id") != agent["id"]
    assert run.pop("executed_at").endswith("Z")
    assert run.pop("response").startswith("[Mock Response] Agent 'Ann' (role: researcher)")
    assert run == {
        "agent_id": agent["id"],
        "agent_name": "Ann",
        "model": "gpt-4o",
        "prompt": "Hi",
        "tools_available": ["web", "mail"],
        "warning": "The model is told of these tools, but cannot call them without an endpoint:"
        " web, mail",
        "status": "completed",
        "stop_reason": "answered",
        "usage": {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0, "steps": 1},
    }


def test_a_run_of_an_agent_without_tools_warns(client: Client) -> None:
    run = client.run(client.agent())
    assert run["tools_available"] == []
    assert "no tools" in run["warning"]


def test_the_mock_answers_the_same_to_the_same_agent_prompt_and_model_only(
    client: Client, other: Client
) -> None:
    ann = client.agent("Ann")
    said = client.run(ann, prompt="Hi", model="gpt-4")["response"]
    assert client.run(ann, prompt="Hi", model="gpt-4")["response"] == said
    assert client.run(ann, prompt="Ho", model="gpt-4")["response"] != said
    assert client.run(ann, prompt="Hi", model="gpt-4o")["response"] != said
    assert client.run(client.agent("Bob"), prompt="Hi", model="gpt-4")["response"] != said
    assert other.run(other.agent("Ann"), prompt="Hi", model="gpt-4")["response"] != said


@pytest.mark.parametrize("model", catalogue.load())
def test_every_supported_model_answers(client: Client, model: str) -> None:
    assert client.run(client.agent(), model=model)["model"] == model


def test_another_model_is_refused_with_those_there_are(client: Client) -> None:
    agent = client.agent()
    for model in ("gpt-5", "GPT-4", "gpt"):
        refused = client("POST", f"/agents/{agent['id']}/run", RUN | {"model": model})
        assert (refused.status, refused.error_code) == (422, "UNSUPPORTED_MODEL")
        assert refused.json["details"] == {
            "model": model,
            "supported_models": [
                *("gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet"),
                *("gpt-5.1", "gpt-5-mini", "claude-sonnet-5-5", "claude-haiku-4-5"),
                *("nova-pro", "nova-lite"),
            ],
        }
    assert client("GET", "/history").json["items"] == []


@pytest.mark.parametrize("which", ["foreign", "random"])
def test_an_agent_that_the_tenant_does_not_have_is_another_tenants_whether_it_exists_or_not(
    client: Client, other: Client, which: str
) -> None:
    missing = other.agent()["id"] if which == "foreign" else str(uuid4())
    refused = client("POST", f"/agents/{missing}/run", RUN)
    assert (refused.status, refused.json) == (
        403,
        {
            "error_code": "TENANT_ISOLATION_VIOLATION",
            "message": "Access denied to resource owned by another tenant",
            "details": {"resource_type": "agent", "resource_id": missing},
        },
    )


@pytest.mark.parametrize("unfit", ["", " \t", None, 7, "a\0b", "\ud800", "x" * 10_001], ids=ascii)
@pytest.mark.parametrize("field", ["prompt", "model"])
def test_an_unfit_text_is_refused(client: Client, field: str, unfit: object) -> None:
    refused = client("POST", f"/agents/{uuid4()}/run", RUN | {field: unfit})
    assert refused_fields(refused) == {f"body.{field}"}


def test_missing_and_unknown_fields_are_all_named(client: Client) -> None:
    refused = client("POST", f"/agents/{uuid4()}/run", {"temperature": 1})
    assert refused_fields(refused) == {"body.prompt", "body.model", "body.temperature"}


def test_a_malformed_id_is_refused(client: Client) -> None:
    assert refused_fields(client("POST", "/agents/ann/run", RUN)) == {"path.agent_id"}


def test_a_prompt_has_up_to_10_000_characters_and_is_kept_whole(client: Client) -> None:
    prompt = "é" * 10_000
    run = client.run(client.agent(), prompt=prompt)
    assert client("GET", f"/history/{run['execution_id']}").json["prompt"] == prompt


def test_the_log_never_holds_a_prompt_or_an_answer_even_where_recording_them_fails(
    client: Client, admin: Connection, log: StringIO
) -> None:
    agent = client.agent()
    prompt = {"prompt": "my secret plan"}
    client.run(agent, **prompt)
    client("POST", f"/agents/{agent['id']}/run", RUN | prompt | {"model": 7})
    admin.execute("alter table app.executions add constraint none check (prompt = '') not valid")
    try:
        broken = client("POST", f"/agents/{agent['id']}/run", RUN | prompt)
    finally:
        admin.execute("alter table app.executions drop constraint none")
    assert broken.status == 500
    assert "CheckViolation" in log.getvalue()
    assert "secret plan" not in log.getvalue()
