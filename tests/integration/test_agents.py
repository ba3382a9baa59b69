"""Agents, through the Lambda handler."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from local import backends
from mini_agent.identity.callers import Caller
from tests.conftest import Connection
from tests.events import Answer
from tests.integration.client import AGENT, RUN, Client, ids, refused_fields
from tests.waiting import until


def test_a_created_agent_is_told_with_its_tools_in_full_and_can_be_read_at_its_location(
    client: Client,
) -> None:
    web, mail = client.tool("web"), client.tool("mail")
    created = client(
        "POST", "/agents", AGENT | {"name": " Ann ", "tool_ids": [mail["id"], web["id"]]}
    )
    assert created.status == 201
    assert created.json["name"] == "Ann"
    assert created.json["tools"] == [web, mail]
    assert created.json.keys() == {
        *("id", "name", "role", "description", "tools", "created_at", "updated_at"),
    }
    assert created.headers["location"] == f"/live/api/v1/agents/{created.json['id']}"
    read = client("GET", created.headers["location"].removeprefix("/live"))
    assert (read.status, read.json) == (200, created.json)


def test_an_agent_needs_no_tools(client: Client) -> None:
    assert client("POST", "/agents", AGENT).json["tools"] == []


def test_a_tool_given_twice_counts_once(client: Client) -> None:
    tool = client.tool()
    agent = client.agent(tool_ids=[tool["id"], tool["id"].upper()])
    assert agent["tools"] == [tool]
    twice = client("PUT", f"/agents/{agent['id']}", {"tool_ids": [tool["id"], tool["id"]]})
    assert twice.json["tools"] == [tool]


def test_a_name_is_unique_within_a_tenant_and_free_in_another(
    client: Client, other: Client
) -> None:
    client.agent("Ann")
    refused = client("POST", "/agents", AGENT | {"name": "Ann"})
    assert (refused.status, refused.error_code) == (409, "DUPLICATE_AGENT_NAME")
    assert refused.json["details"] == {"name": "Ann"}
    other.agent("Ann")


def test_an_agent_cannot_be_renamed_to_a_taken_name_but_keeps_its_own(client: Client) -> None:
    client.agent("Ann")
    agent = client.agent("Bob")
    refused = client("PUT", f"/agents/{agent['id']}", {"name": "Ann"})
    assert (refused.status, refused.error_code) == (409, "DUPLICATE_AGENT_NAME")
    assert client("PUT", f"/agents/{agent['id']}", {"name": "Bob"}).status == 200
    assert client("GET", f"/agents/{agent['id']}").json["name"] == "Bob"


@pytest.mark.parametrize("unfit", ["", " \t", None, 7, "a\0b", "\ud800", "x" * 1001], ids=ascii)
@pytest.mark.parametrize("field", ["name", "role", "description"])
def test_an_unfit_text_is_refused_in_both_create_and_update(
    client: Client, field: str, unfit: object
) -> None:
    assert refused_fields(client("POST", "/agents", AGENT | {field: unfit})) == {f"body.{field}"}
    agent = client.agent()
    assert refused_fields(client("PUT", f"/agents/{agent['id']}", {field: unfit})) == {
        f"body.{field}"
    }
    assert client("GET", f"/agents/{agent['id']}").json == agent


@pytest.mark.parametrize("field", ["name", "role"])
def test_names_and_roles_have_up_to_100_characters(client: Client, field: str) -> None:
    assert client("POST", "/agents", AGENT | {field: "x" * 100}).status == 201
    assert refused_fields(client("POST", "/agents", AGENT | {field: "x" * 101})) == {
        f"body.{field}"
    }


@pytest.mark.parametrize(
    ("tool_ids", "field"),
    [
        (None, "body.tool_ids"),
        ("web", "body.tool_ids"),
        ({}, "body.tool_ids"),
        (["web"], "body.tool_ids.0"),
        ([None], "body.tool_ids.0"),
        ([7], "body.tool_ids.0"),
        ([str(uuid4())] * 101, "body.tool_ids"),
    ],
    ids=["null", "text", "object", "no id", "null inside", "number", "101 ids"],
)
def test_tool_ids_that_are_no_short_list_of_ids_are_refused(
    client: Client, tool_ids: object, field: str
) -> None:
    assert refused_fields(client("POST", "/agents", AGENT | {"tool_ids": tool_ids})) == {field}
    agent = client.agent()
    change = {"tool_ids": tool_ids}
    assert refused_fields(client("PUT", f"/agents/{agent['id']}", change)) == {field}


def test_missing_and_unknown_fields_are_all_named(client: Client) -> None:
    refused = client("POST", "/agents", {"tools": []})
    assert refused_fields(refused) == {
        *("body.name", "body.role", "body.description", "body.tools"),
    }


@pytest.mark.parametrize("which", ["foreign", "random"])
def test_tools_that_the_tenant_does_not_have_are_named_and_nothing_changes(
    client: Client, other: Client, which: str
) -> None:
    own = client.tool()
    missing = sorted(
        [other.tool("one")["id"], other.tool("two")["id"]]
        if which == "foreign"
        else [str(uuid4()), str(uuid4())]
    )
    change = {"tool_ids": [*missing, own["id"], missing[0]]}
    agent = client.agent(tool_ids=[own["id"]])
    for refused in (
        client("POST", "/agents", AGENT | {"name": "Bob"} | change),
        client("PUT", f"/agents/{agent['id']}", {"role": "spy"} | change),
    ):
        assert (refused.status, refused.error_code) == (403, "CROSS_TENANT_TOOL")
        assert refused.json["details"] == {"tool_ids": missing}
    assert client("GET", "/agents").json["items"] == [agent]


def test_update_leaves_fields_out_as_they_are(client: Client) -> None:
    tool = client.tool()
    agent = client.agent(tool_ids=[tool["id"]])
    for change in ({"name": "Bob"}, {"role": "writer"}, {"description": "Writes"}, {}):
        before = client("GET", f"/agents/{agent['id']}").json
        changed = client("PUT", f"/agents/{agent['id']}", change)
        assert changed.status == 200
        assert changed.json["updated_at"] > before["updated_at"]
        assert changed.json == before | change | {"updated_at": changed.json["updated_at"]}


def test_update_answers_with_the_tools_just_saved(client: Client) -> None:
    web, mail, chat = (client.tool(name) for name in ("web", "mail", "chat"))
    agent = client.agent(tool_ids=[web["id"], mail["id"]])
    for tools in ([mail, chat], [], [web, mail, chat], [chat]):
        change = {"tool_ids": [tool["id"] for tool in tools]}
        changed = client("PUT", f"/agents/{agent['id']}", change)
        assert changed.json["tools"] == tools
        assert client("GET", f"/agents/{agent['id']}").json == changed.json


def test_an_agent_shows_its_tools_as_they_are_now(client: Client) -> None:
    tool = client.tool("web")
    agent = client.agent(tool_ids=[tool["id"]])
    renamed = client("PUT", f"/tools/{tool['id']}", {"name": "net"}).json
    assert client("GET", f"/agents/{agent['id']}").json["tools"] == [renamed]
    assert client("GET", "/agents").json["items"][0]["tools"] == [renamed]


def test_a_deleted_agent_is_gone_and_frees_its_name_and_its_tools(client: Client) -> None:
    tool = client.tool()
    agent = client.agent(tool_ids=[tool["id"]])
    gone = client("DELETE", f"/agents/{agent['id']}")
    assert (gone.status, gone.text) == (204, "")
    assert client("DELETE", f"/agents/{agent['id']}").error_code == "AGENT_NOT_FOUND"
    client.agent(agent["name"])
    assert client("DELETE", f"/tools/{tool['id']}").status == 204


def test_deleting_an_agent_keeps_its_history(client: Client) -> None:
    agent = client.agent()
    run = client.run(agent)
    before = client("GET", "/history").json
    client("DELETE", f"/agents/{agent['id']}")
    assert client("GET", "/history").json == before
    assert client("GET", f"/history?agent_id={agent['id']}").json == before
    assert client("GET", f"/history/{run['execution_id']}").json == before["items"][0]
    again = client("POST", f"/agents/{agent['id']}/run", RUN)
    assert (again.status, again.error_code) == (403, "TENANT_ISOLATION_VIOLATION")


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", {}), ("DELETE", None)])
def test_an_unknown_id_is_not_found_and_a_malformed_one_refused(
    client: Client, method: str, body: object
) -> None:
    missing = str(uuid4())
    absent = client(method, f"/agents/{missing}", body)
    assert (absent.status, absent.error_code) == (404, "AGENT_NOT_FOUND")
    assert absent.json["details"] == {"agent_id": missing}
    assert refused_fields(client(method, "/agents/not-an-id", body)) == {"path.agent_id"}


def test_an_unknown_agent_given_own_tools_is_not_found(client: Client) -> None:
    tool = client.tool()
    absent = client("PUT", f"/agents/{uuid4()}", {"tool_ids": [tool["id"]]})
    assert (absent.status, absent.error_code) == (404, "AGENT_NOT_FOUND")


def test_filters_are_exact_and_combine(client: Client) -> None:
    web, mail = client.tool("web")["id"], client.tool("mail")["id"]
    ann = client.agent("Ann", role="writer", tool_ids=[web, mail])["id"]
    bob = client.agent("Bob", role="writer", tool_ids=[mail])["id"]
    eve = client.agent("Eve", role="spy")["id"]
    assert ids(client("GET", "/agents")) == [ann, bob, eve]
    assert ids(client("GET", "/agents?name=Bob")) == [bob]
    assert ids(client("GET", "/agents?name=bob")) == []
    assert ids(client("GET", "/agents?role=writer")) == [ann, bob]
    assert ids(client("GET", "/agents?tool_name=mail")) == [ann, bob]
    assert ids(client("GET", "/agents?tool_name=web&role=writer")) == [ann]
    assert ids(client("GET", "/agents?tool_name=web&role=spy")) == []


# ── Two updates of one agent's tools at once ─────────────────────────────────────────────────────


@pytest.fixture
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two sandboxes, each a process with its own connection."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


def update(caller: Caller, agent_id: str, change: dict[str, Any]) -> Answer:
    return Client(caller)("PUT", f"/agents/{agent_id}", change)


def test_of_two_updates_at_once_one_set_of_tools_stays_and_each_is_answered_with_its_own(
    client: Client,
    tenant: Caller,
    admin: Connection,
    postgres: backends.Server,
    processes: ProcessPoolExecutor,
) -> None:
    tools = [client.tool(name) for name in "abcdef"]
    sets = [tools[:3], tools[2:]]
    agent = client.agent(tool_ids=[tools[0]["id"], tools[5]["id"]])

    def both_wait() -> bool:
        waiting = admin.execute(
            "select count(*) from pg_stat_activity"
            " where wait_event_type = 'Lock' and usename = 'map_api'"
        ).fetchone()
        return waiting == (2,)

    with psycopg.connect(host=postgres.socket, dbname="map", user="postgres") as blocker:
        blocker.execute("select from app.agents where id = %s for update", (agent["id"],))
        updates = [
            processes.submit(
                update, tenant, agent["id"], {"tool_ids": [tool["id"] for tool in chosen]}
            )
            for chosen in sets
        ]
        until(both_wait)
        blocker.rollback()
        answers = [update.result(20) for update in updates]
    assert [answer.status for answer in answers] == [200, 200]
    assert [answer.json["tools"] for answer in answers] == sets
    assert client("GET", f"/agents/{agent['id']}").json["tools"] in sets
