"""Tools, through the Lambda handler: names, texts, filters, deletion."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.client import TOOL, Client, ids, refused_fields


def test_a_created_tool_is_told_in_full_and_can_be_read_at_its_location(client: Client) -> None:
    created = client("POST", "/tools", {"name": " web ", "description": "\tSearch\n"})
    assert created.status == 201
    assert created.json.keys() == {
        *("id", "name", "description", "created_at", "updated_at"),
        *("parameters", "endpoint", "idempotent", "requires_approval"),
    }
    assert (created.json["name"], created.json["description"]) == ("web", "Search")
    assert created.json["created_at"] == created.json["updated_at"]
    assert created.json["created_at"].endswith("Z")
    assert created.headers["location"] == f"/live/api/v1/tools/{created.json['id']}"
    read = client("GET", created.headers["location"].removeprefix("/live"))
    assert (read.status, read.json) == (200, created.json)


def test_a_name_is_unique_within_a_tenant_and_free_in_another(
    client: Client, other: Client
) -> None:
    client.tool("web")
    refused = client("POST", "/tools", TOOL | {"name": " web "})
    assert (refused.status, refused.error_code) == (409, "DUPLICATE_TOOL_NAME")
    assert refused.json["details"] == {"name": "web"}
    other.tool("web")


def test_a_tool_cannot_be_renamed_to_a_taken_name_but_keeps_its_own(client: Client) -> None:
    client.tool("web")
    tool = client.tool("mail")
    refused = client("PUT", f"/tools/{tool['id']}", {"name": "web"})
    assert (refused.status, refused.error_code) == (409, "DUPLICATE_TOOL_NAME")
    assert refused.json["details"] == {"name": "web"}
    assert client("PUT", f"/tools/{tool['id']}", {"name": "mail"}).status == 200
    assert client("GET", f"/tools/{tool['id']}").json["name"] == "mail"


@pytest.mark.parametrize(("field", "longest"), [("name", 100), ("description", 1000)])
def test_a_text_may_be_as_long_as_the_contract_says_counted_without_blanks_around_it(
    client: Client, field: str, longest: int
) -> None:
    text = "é" * longest
    made = client("POST", "/tools", TOOL | {field: f" {text} "})
    assert (made.status, made.json[field]) == (201, text)
    too_long = client("POST", "/tools", TOOL | {"name": "new", field: text + "é"})
    assert refused_fields(too_long) == {f"body.{field}"}


UNFIT_TEXTS: list[Any] = [
    "",
    " \t\n",
    "\u2003",  # a blank of Unicode
    None,
    7,
    True,
    ["web"],
    {"a": "b"},
    "a\0b",
    "\ud800",
    float("nan"),
]


@pytest.mark.parametrize("unfit", UNFIT_TEXTS, ids=ascii)
@pytest.mark.parametrize("field", ["name", "description"])
def test_an_unfit_text_is_refused_in_both_create_and_update(
    client: Client, field: str, unfit: object
) -> None:
    assert refused_fields(client("POST", "/tools", TOOL | {field: unfit})) == {f"body.{field}"}
    tool = client.tool()
    assert refused_fields(client("PUT", f"/tools/{tool['id']}", {field: unfit})) == {
        f"body.{field}"
    }
    assert client("GET", f"/tools/{tool['id']}").json == tool


def test_missing_and_unknown_fields_are_all_named(client: Client) -> None:
    refused = client("POST", "/tools", {"nmae": "web"})
    assert refused_fields(refused) == {"body.name", "body.description", "body.nmae"}
    tool = client.tool()
    assert refused_fields(client("PUT", f"/tools/{tool['id']}", {"id": str(uuid4())})) == {
        "body.id"
    }


@pytest.mark.parametrize("body", ["", "null", "[]", '"web"', "{", "7", "{'name': 'web'}"])
def test_a_body_that_is_no_json_object_is_refused(client: Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert all(
        field.startswith("body")
        for field in refused_fields(client("POST", "/tools", body, headers))
    )


def test_update_leaves_fields_out_as_they_are(client: Client) -> None:
    tool = client.tool("web", description="Search")
    for change in ({"name": "net"}, {"description": "Surf"}, {}):
        before = client("GET", f"/tools/{tool['id']}").json
        changed = client("PUT", f"/tools/{tool['id']}", change)
        assert changed.status == 200
        assert changed.json["updated_at"] > before["updated_at"]
        assert changed.json == before | change | {"updated_at": changed.json["updated_at"]}
        assert client("GET", f"/tools/{tool['id']}").json == changed.json


def test_a_deleted_tool_is_gone_and_its_name_free(client: Client) -> None:
    tool = client.tool("web")
    gone = client("DELETE", f"/tools/{tool['id']}")
    assert (gone.status, gone.text) == (204, "")
    assert client("DELETE", f"/tools/{tool['id']}").error_code == "TOOL_NOT_FOUND"
    client.tool("web")


def test_a_tool_in_use_stays_and_its_users_are_named(client: Client) -> None:
    tool = client.tool()
    agents = [client.agent(name, tool_ids=[tool["id"]]) for name in ("Ann", "Bob")]
    client.agent("Eve")
    refused = client("DELETE", f"/tools/{tool['id']}")
    assert (refused.status, refused.error_code) == (409, "TOOL_IN_USE")
    assert refused.json["details"] == {
        "dependent_agents": [{"id": agent["id"], "name": agent["name"]} for agent in agents]
    }
    assert client("GET", f"/tools/{tool['id']}").status == 200
    for agent in agents:
        client("PUT", f"/agents/{agent['id']}", {"tool_ids": []})
    assert client("DELETE", f"/tools/{tool['id']}").status == 204


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", {}), ("DELETE", None)])
def test_an_unknown_id_is_not_found_and_a_malformed_one_refused(
    client: Client, method: str, body: object
) -> None:
    missing = str(uuid4())
    absent = client(method, f"/tools/{missing}", body)
    assert (absent.status, absent.error_code) == (404, "TOOL_NOT_FOUND")
    assert absent.json["details"] == {"tool_id": missing}
    assert refused_fields(client(method, "/tools/not-an-id", body)) == {"path.tool_id"}


def test_filters_are_exact_and_combine(client: Client) -> None:
    web, mail, chat = (client.tool(name)["id"] for name in ("web", "mail", "chat"))
    client.agent("Ann", tool_ids=[web, mail])
    client.agent("Bob", tool_ids=[mail, chat])
    assert ids(client("GET", "/tools")) == [web, mail, chat]
    assert ids(client("GET", "/tools?name=web")) == [web]
    assert ids(client("GET", "/tools?name=WEB")) == []
    assert ids(client("GET", "/tools?name=we")) == []
    assert ids(client("GET", "/tools?agent_name=Ann")) == [web, mail]
    assert ids(client("GET", "/tools?agent_name=Bob&name=mail")) == [mail]
    assert ids(client("GET", "/tools?agent_name=Ann&name=chat")) == []


def test_a_name_that_means_something_in_sql_json_or_format_strings_is_a_name(
    client: Client,
) -> None:
    for name in ("' or ''='", "100 %s %(id)s", '"\\', "$1; drop table app.tools", "🤖 ﷽", "{x}"):
        tool = client.tool(name)
        assert client("GET", f"/tools/{tool['id']}").json["name"] == name
        assert client("POST", "/tools", TOOL | {"name": name}).json["details"] == {"name": name}
    assert len(json.loads(client("GET", "/tools").text)["items"]) == 6
