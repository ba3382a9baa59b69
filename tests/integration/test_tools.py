"""Tools, through the Lambda handler."""

from functions.tools.app import handler
from mini_agent.tenant import Caller
from tests.events import invoke

PATH = "/api/v1/tools"


def test_a_created_tool_can_be_read_at_its_location(tenant: Caller) -> None:
    created = invoke(handler, "POST", PATH, {"name": " web ", "description": "Search"}, tenant)
    assert created.status == 201
    assert created.json["name"] == "web"
    assert created.headers["location"] == f"/live{PATH}/{created.json['id']}"
    read = invoke(handler, "GET", f"{PATH}/{created.json['id']}", caller=tenant)
    assert (read.status, read.json) == (200, created.json)


def test_a_name_is_unique_within_a_tenant_and_free_in_another(
    tenant: Caller, stranger: Caller
) -> None:
    tool = {"name": "web", "description": "Search"}
    assert invoke(handler, "POST", PATH, tool, tenant).status == 201
    refused = invoke(handler, "POST", PATH, tool, tenant)
    assert (refused.status, refused.error_code) == (409, "DUPLICATE_TOOL_NAME")
    assert refused.json["details"] == {"name": "web"}
    assert invoke(handler, "POST", PATH, tool, stranger).status == 201
