"""Who is calling: what the authorizer told API Gateway, and how a transaction is entered by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, Self
from uuid import UUID

from mini_agent.errors import InvalidApiKey, MissingApiKey

Statement = tuple[LiteralString, tuple[UUID | str, ...]]
"""A statement and its parameters."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant, through one of its API keys; of the request, what the audit log records."""

    tenant_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    requests_per_minute: int
    request_id: str = ""
    address: str = ""

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        """Return the caller of an API Gateway event.

        A function never authenticates by itself: without the authorizer's context it raises
        MissingApiKey, or InvalidApiKey if a key was sent.
        """
        request = event.get("requestContext", {})
        context = request.get("authorizer") or {}
        try:
            return cls(
                tenant_id=UUID(context["tenant_id"]),
                key_id=UUID(context["key_id"]),
                scopes=frozenset(context["scopes"].split()),
                requests_per_minute=int(context["requests_per_minute"]),
                request_id=str(request.get("requestId", "")),
                address=str((request.get("identity") or {}).get("sourceIp", "")),
            )
        except (KeyError, ValueError, TypeError, AttributeError):
            has_key = any(name.lower() == "x-api-key" for name in event.get("headers") or {})
            raise (InvalidApiKey if has_key else MissingApiKey) from None

    def context(self) -> dict[str, str]:
        """Return the authorizer context that `from_event` reads: strings only."""
        return {
            "tenant_id": str(self.tenant_id),
            "key_id": str(self.key_id),
            "scopes": " ".join(sorted(self.scopes)),
            "requests_per_minute": str(self.requests_per_minute),
        }

    def entry_statement(self) -> Statement:
        """Return what a transaction begins with to see and change this tenant's rows only."""
        return "select app.enter_tenant(%s, %s, %s, %s)", self._entry_parameters()

    def identity(self) -> dict[str, UUID | str]:
        """Return the parameters of a query that enters this tenant itself."""
        return {
            "tenant_id": self.tenant_id,
            "key_id": self.key_id,
            "request_id": self.request_id,
            "address": self.address,
        }

    def _entry_parameters(self) -> tuple[UUID | str, ...]:
        return self.tenant_id, self.key_id, self.request_id, self.address


@dataclass(frozen=True, slots=True)
class Operator(Caller):
    """An operator of the platform: a key of the platform's own tenant, at work on any tenant.

    The database refuses a caller that is none.
    """

    def entry_statement(self) -> Statement:
        """Return what a transaction begins with to manage every tenant."""
        return "select app.enter_operator(%s, %s, %s, %s)", self._entry_parameters()


@dataclass(frozen=True, slots=True)
class RunCaller:
    """A tenant, through one of its runs, which may outlive the request that started it."""

    tenant_id: UUID
    execution_id: UUID

    def entry_statement(self) -> Statement:
        """Return what a transaction begins with to see and change this tenant's rows only."""
        return "select app.enter_run(%s, %s)", (self.tenant_id, self.execution_id)

    def identity(self) -> dict[str, UUID | str]:
        """Return the parameters of a query that enters this run's tenant itself."""
        return {"tenant_id": self.tenant_id}
