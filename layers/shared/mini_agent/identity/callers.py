"""Who is calling, as the authorizer told API Gateway."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, Self
from uuid import UUID

from mini_agent.errors import InvalidApiKey, MissingApiKey


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant, by one of its keys."""

    tenant_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    requests_per_minute: int
    request_id: str = ""
    address: str = ""
    """Of the request, for the audit log."""

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        """Return the caller of an API Gateway event.

        A function never authenticates by itself: an event that no authorizer has seen is refused
        (MissingApiKey, or InvalidApiKey where a key was sent).
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
            sent = any(name.lower() == "x-api-key" for name in event.get("headers") or {})
            raise (InvalidApiKey if sent else MissingApiKey) from None

    def entry_statement(self) -> tuple[LiteralString, tuple[UUID | str, ...]]:
        """Return the statement, and its parameters, that makes a transaction this tenant's."""
        return "select app.enter_tenant(%s, %s, %s, %s)", self._who()

    def _who(self) -> tuple[UUID | str, ...]:
        return self.tenant_id, self.key_id, self.request_id, self.address

    def context(self) -> dict[str, str]:
        """Return the authorizer context that `from_event` reads: strings only."""
        return {
            "tenant_id": str(self.tenant_id),
            "key_id": str(self.key_id),
            "scopes": " ".join(sorted(self.scopes)),
            "requests_per_minute": str(self.requests_per_minute),
        }


@dataclass(frozen=True, slots=True)
class Operator(Caller):
    """An operator of the platform: a key of the platform's own tenant, at work on any tenant.

    The database refuses a caller that is none.
    """

    def entry_statement(self) -> tuple[LiteralString, tuple[UUID | str, ...]]:
        """Return the statement, and its parameters, that opens a transaction to every tenant."""
        return "select app.enter_operator(%s, %s, %s, %s)", self._who()


@dataclass(frozen=True, slots=True)
class RunCaller:
    """A tenant, by one of its runs: it works on after the request that began it."""

    tenant_id: UUID
    execution_id: UUID

    def entry_statement(self) -> tuple[LiteralString, tuple[UUID | str, ...]]:
        """Return the statement, and its parameters, that makes a transaction this tenant's."""
        return "select app.enter_run(%s, %s)", (self.tenant_id, self.execution_id)
