"""What the tests of operators share."""

from typing import Any

from mini_agent.identity.callers import Caller
from tests.events import Answer

TENANTS = "/admin/tenants"


def path_of(tenant: Caller) -> str:
    return f"{TENANTS}/{tenant.tenant_id}"


def refused(answer: Answer) -> tuple[int, str, dict[str, Any]]:
    return answer.status, answer.error_code, answer.json["details"]


def unauthorized(answer: Answer) -> bool:
    return (answer.status, answer.error_code) == (401, "INVALID_API_KEY")
