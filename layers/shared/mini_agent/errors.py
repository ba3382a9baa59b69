"""Every error that a client can see: its code, its status, and the one shape of the answer.

Nothing of FastAPI is here: the authorizer raises these too, and starts without it.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

RETRY_AFTER_SECONDS = 5
"""How long a client is asked to wait when a dependency is away."""


class ErrorBody(BaseModel):
    """The shape of every answer that is not a success."""

    model_config = ConfigDict(extra="forbid")

    error_code: str = Field(description="Stable, for programs")
    message: str = Field(description="For people; may change")
    details: dict[str, Any]


class ApiError(Exception):
    """An error that knows its answer; keyword arguments become `details`."""

    status: ClassVar[int]
    error_code: ClassVar[str]
    message: ClassVar[str]
    example: ClassVar[dict[str, Any]] = {}
    """`details` as the OpenAPI document shows them."""

    retry_after: int | None = None
    """Seconds after which a client should try again: the `Retry-After` header."""

    def __init__(self, **details: object) -> None:
        super().__init__(self.message)
        self.details = details
        self.headers: dict[str, str] = {}


class MissingApiKey(ApiError):
    """No `X-API-KEY` header."""

    status = 401
    error_code = "MISSING_API_KEY"
    message = "Send your API key in the X-API-KEY header"


class InvalidApiKey(ApiError):
    """Unknown, malformed, revoked or expired key, or a suspended tenant: one answer for all."""

    status = 401
    error_code = "INVALID_API_KEY"
    message = "This API key is not valid"


class BudgetExceeded(ApiError):
    """The tenant's budget has not enough left for this run."""

    status = 402
    error_code = "BUDGET_EXCEEDED"
    message = "The budget is used up; details say what is left and when it renews"
    example: ClassVar = {
        "budget": "spend_per_month_usd",
        "limit": 50.0,
        "left": 0.0012,
        "renews_at": "2024-02-01T00:00:00Z",
    }


class TenantIsolationViolation(ApiError):
    """A run of an agent that this tenant does not have, whether or not it exists elsewhere."""

    status = 403
    error_code = "TENANT_ISOLATION_VIOLATION"
    message = "Access denied to resource owned by another tenant"
    example: ClassVar = {
        "resource_type": "agent",
        "resource_id": "550e8400-e29b-41d4-a716-446655440000",
    }


class CrossTenantTool(ApiError):
    """An agent given a tool that this tenant does not have, whether or not it exists elsewhere."""

    status = 403
    error_code = "CROSS_TENANT_TOOL"
    message = "An agent can use its own tenant's tools only"
    example: ClassVar = {"tool_ids": ["550e8400-e29b-41d4-a716-446655440000"]}


class InsufficientScope(ApiError):
    """The key lacks the route's scope."""

    status = 403
    error_code = "INSUFFICIENT_SCOPE"
    message = "This API key may not do that"
    example: ClassVar = {"required_scope": "tools:write"}


class ToolNotFound(ApiError):
    """This tenant has no such tool."""

    status = 404
    error_code = "TOOL_NOT_FOUND"
    message = "No such tool"
    example: ClassVar = {"tool_id": "550e8400-e29b-41d4-a716-446655440000"}


class AgentNotFound(ApiError):
    """This tenant has no such agent."""

    status = 404
    error_code = "AGENT_NOT_FOUND"
    message = "No such agent"
    example: ClassVar = {"agent_id": "550e8400-e29b-41d4-a716-446655440000"}


class ExecutionNotFound(ApiError):
    """This tenant has no such execution."""

    status = 404
    error_code = "EXECUTION_NOT_FOUND"
    message = "No such execution"
    example: ClassVar = {"execution_id": "550e8400-e29b-41d4-a716-446655440000"}


class StepNotFound(ApiError):
    """This run has no such step, or none that waits for approval."""

    status = 404
    error_code = "STEP_NOT_FOUND"
    message = "This run has no approval step of this number"
    example: ClassVar = {
        "execution_id": "550e8400-e29b-41d4-a716-446655440000",
        "step": 3,
    }


class SecretNotFound(ApiError):
    """This tenant has no such secret."""

    status = 404
    error_code = "SECRET_NOT_FOUND"
    message = "No such secret"
    example: ClassVar = {"name": "search_api_key"}


class KeyNotFound(ApiError):
    """This tenant has no such key."""

    status = 404
    error_code = "KEY_NOT_FOUND"
    message = "No such API key"
    example: ClassVar = {"key_id": "550e8400-e29b-41d4-a716-446655440000"}


class TenantNotFound(ApiError):
    """There is no such tenant."""

    status = 404
    error_code = "TENANT_NOT_FOUND"
    message = "No such tenant"
    example: ClassVar = {"tenant_id": "550e8400-e29b-41d4-a716-446655440000"}


class RouteNotFound(ApiError):
    """No such path."""

    status = 404
    error_code = "ROUTE_NOT_FOUND"
    message = "No such path; GET /openapi.json lists them"


class MethodNotAllowed(ApiError):
    """The path exists, the method does not; the answer has `Allow`."""

    status = 405
    error_code = "METHOD_NOT_ALLOWED"
    message = "This path does not take this method; the Allow header says which it takes"


class DuplicateToolName(ApiError):
    """The tenant has a tool of this name."""

    status = 409
    error_code = "DUPLICATE_TOOL_NAME"
    message = "A tool of this name exists; choose another name or update that tool"
    example: ClassVar = {"name": "web_search"}


class DuplicateAgentName(ApiError):
    """The tenant has an agent of this name."""

    status = 409
    error_code = "DUPLICATE_AGENT_NAME"
    message = "An agent of this name exists; choose another name or update that agent"
    example: ClassVar = {"name": "Research Assistant"}


class ToolInUse(ApiError):
    """Delete of a tool that agents use."""

    status = 409
    error_code = "TOOL_IN_USE"
    message = "Agents use this tool; take it from them first"
    example: ClassVar = {
        "dependent_agents": [
            {"id": "650e8400-e29b-41d4-a716-446655440000", "name": "Research Assistant"}
        ]
    }


class ExecutionAlreadyFinished(ApiError):
    """A run that is over cannot be cancelled."""

    status = 409
    error_code = "EXECUTION_ALREADY_FINISHED"
    message = "This run is over"
    example: ClassVar = {
        "execution_id": "550e8400-e29b-41d4-a716-446655440000",
        "status": "completed",
    }


class ApprovalClosed(ApiError):
    """An approval that was decided otherwise, or expired."""

    status = 409
    error_code = "APPROVAL_CLOSED"
    message = "This step does not wait for an approval any more"
    example: ClassVar = {
        "execution_id": "550e8400-e29b-41d4-a716-446655440000",
        "step": 3,
        "decision": "reject",
    }


class TenantProtected(ApiError):
    """The platform's own tenant stays."""

    status = 409
    error_code = "TENANT_PROTECTED"
    message = "This is the platform's own tenant, which cannot be suspended or deleted"
    example: ClassVar = {"tenant_id": "00000000-0000-0000-0000-000000000000"}


class TenantDeleted(ApiError):
    """A tenant that is deleted can be resumed while its grace lasts, and nothing else."""

    status = 409
    error_code = "TENANT_DELETED"
    message = "This tenant is deleted; until delete_after it can be resumed"
    example: ClassVar = {
        "tenant_id": "550e8400-e29b-41d4-a716-446655440000",
        "delete_after": "2024-01-22T10:30:00Z",
    }


class IdempotencyKeyInUse(ApiError):
    """The first request with this `Idempotency-Key` is still at work; `Retry-After` says when."""

    status = 409
    error_code = "IDEMPOTENCY_KEY_IN_USE"
    retry_after = 1
    message = "The first request with this Idempotency-Key is not over; try again"


class PayloadTooLarge(ApiError):
    """API Gateway's own answer: what Lambda takes is 6 MB."""

    status = 413
    error_code = "PAYLOAD_TOO_LARGE"
    message = "The request is too large"
    example: ClassVar = {"limit_bytes": 6291456}


class UnsupportedMediaType(ApiError):
    """A body that is not declared as JSON."""

    status = 415
    error_code = "UNSUPPORTED_MEDIA_TYPE"
    message = "Send a JSON body with Content-Type: application/json"


class ValidationFailed(ApiError):
    """Body, path, query or cursor is not as declared; `errors` says where and why."""

    status = 422
    error_code = "VALIDATION_ERROR"
    message = "The request is not valid; details.errors says where and why"
    example: ClassVar = {
        "errors": [{"field": "body.name", "message": "Field required", "type": "missing"}]
    }


class IdempotencyKeyReused(ApiError):
    """The `Idempotency-Key` of another request: another body, another path."""

    status = 422
    error_code = "IDEMPOTENCY_KEY_REUSED"
    message = "Another request had this Idempotency-Key; take a new one for a new request"


class UnsupportedModel(ApiError):
    """A model that this platform does not offer."""

    status = 422
    error_code = "UNSUPPORTED_MODEL"
    message = "This model is not offered; details.supported_models lists those that are"
    example: ClassVar = {"model": "gpt-2", "supported_models": ["gpt-4o"]}


class RateLimitExceeded(ApiError):
    """The tenant's window is full; the answer has `Retry-After`."""

    status = 429
    error_code = "RATE_LIMIT_EXCEEDED"
    retry_after = 60  # the window: less if the limiter knows better
    message = "Rate limit exceeded; try again after the seconds in Retry-After"
    example: ClassVar = {"limit": 100, "window_seconds": 60, "retry_after_seconds": 17}


class TooManyRuns(ApiError):
    """As many runs as the tenant may have at once are at work; the answer has `Retry-After`."""

    status = 429
    error_code = "TOO_MANY_RUNS"
    retry_after = RETRY_AFTER_SECONDS
    message = "As many runs as allowed are at work; try again when one of them is over"
    example: ClassVar = {"limit": 10}


class InternalServerError(ApiError):
    """A fault of ours; the log has the cause under the request id."""

    status = 500
    error_code = "INTERNAL_SERVER_ERROR"
    message = "Something went wrong on our side; quote the request id"
    example: ClassVar = {"request_id": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"}


class ModelProviderFailed(ApiError):
    """The model's provider gave no usable answer; the run has `failed`."""

    status = 502
    error_code = "MODEL_PROVIDER_FAILED"
    message = "The model's provider gave no usable answer; details.reason says why"
    example: ClassVar = {
        "execution_id": "550e8400-e29b-41d4-a716-446655440000",
        "reason": "rate_limited",
    }


class ServiceUnavailable(ApiError):
    """A dependency is away; the answer has `Retry-After`."""

    status = 503
    error_code = "SERVICE_UNAVAILABLE"
    retry_after = RETRY_AFTER_SECONDS
    message = "A dependency is away for the moment; try again after the seconds in Retry-After"
    example: ClassVar = {"reason": "database"}


class DeadlineExceeded(ApiError):
    """The answer did not come in time."""

    status = 504
    error_code = "DEADLINE_EXCEEDED"
    message = "The request took too long and was given up"


def responses(*errors: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of these errors, each with an example."""
    documented: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        answer = documented.setdefault(
            error.status,
            {
                "model": ErrorBody,
                "content": {"application/json": {"examples": {}}},
            },
        )
        examples = answer["content"]["application/json"]["examples"]
        examples[error.error_code] = {
            "summary": (error.__doc__ or "").split("\n")[0],
            "value": {
                "error_code": error.error_code,
                "message": error.message,
                "details": error.example,
            },
        }
        answer["description"] = ", ".join(examples)
    return documented
