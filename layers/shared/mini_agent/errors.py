"""Every error that a client can see: each knows its status, its code and its message.

ApiError
  · AuthenticationError 401   MissingApiKey, InvalidApiKey
  · BudgetExceeded 402
  · AuthorizationError 403    TenantIsolationViolation, CrossTenantTool, InsufficientScope
  · NotFound 404              ToolNotFound, AgentNotFound, ExecutionNotFound, StepNotFound,
                              SecretNotFound, KeyNotFound, TenantNotFound, RouteNotFound
  · MethodNotAllowed 405
  · Conflict 409              DuplicateToolName, DuplicateAgentName, ToolInUse,
                              ExecutionAlreadyFinished, ApprovalClosed, TenantProtected,
                              TenantDeleted, IdempotencyKeyInUse
  · PayloadTooLarge 413
  · UnsupportedMediaType 415
  · Unprocessable 422         ValidationFailed, IdempotencyKeyReused, UnsupportedModel
  · TooManyRequests 429       RateLimitExceeded, TooManyRuns
  · InternalServerError 500
  · ModelProviderFailed 502
  · ServiceUnavailable 503
  · DeadlineExceeded 504

A room raises one with the `details` that the client gets; `http/exception_handlers.py` renders it.
FastAPI is not imported here: the authorizer raises these too, and starts without it.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

RETRY_AFTER_SECONDS = 5
"""How long a client should wait for a dependency that is unavailable."""

_ID = "550e8400-e29b-41d4-a716-446655440000"


class ErrorBody(BaseModel):
    """The body of every response that is not a success."""

    model_config = ConfigDict(extra="forbid")

    error_code: str = Field(description="Stable, for programs")
    message: str = Field(description="For people; may change")
    details: dict[str, Any]


class ApiError(Exception):
    """An error with its response; keyword arguments become `details`."""

    status: ClassVar[int]
    error_code: ClassVar[str]
    message: ClassVar[str]
    example: ClassVar[dict[str, Any]] = {}
    """`details` as the OpenAPI document shows them."""
    retry_after: int | None = None
    """Seconds after which a client should try again: the `Retry-After` header."""

    def __init_subclass__(cls, *, status: int | None = None, code: str | None = None) -> None:
        if status:
            cls.status = status
        if code:
            cls.error_code = code

    def __init__(self, **details: object) -> None:
        super().__init__(self.message)
        self.details = details
        self.headers: dict[str, str] = {}


class AuthenticationError(ApiError, status=401):
    """The request has no valid API key."""


class MissingApiKey(AuthenticationError, code="MISSING_API_KEY"):
    """No `X-API-KEY` header."""

    message = "Send your API key in the X-API-KEY header"


class InvalidApiKey(AuthenticationError, code="INVALID_API_KEY"):
    """The key is unknown, malformed, revoked or expired, or its tenant suspended: one answer."""

    message = "This API key is not valid"


class BudgetExceeded(ApiError, status=402, code="BUDGET_EXCEEDED"):
    """What is left of the tenant's budget does not cover this run."""

    message = "The budget does not cover this run; details say what is left and when it renews"
    example: ClassVar = {
        "budget": "spend_per_month_usd",
        "limit": 50.0,
        "left": 0.0012,
        "renews_at": "2024-02-01T00:00:00Z",
    }


class AuthorizationError(ApiError, status=403):
    """The caller asks for what is not its own; recorded in the audit log."""


class TenantIsolationViolation(AuthorizationError, code="TENANT_ISOLATION_VIOLATION"):
    """A run of an agent that this tenant does not have, whether or not another tenant does."""

    message = "Access denied to resource owned by another tenant"
    example: ClassVar = {"resource_type": "agent", "resource_id": _ID}


class CrossTenantTool(AuthorizationError, code="CROSS_TENANT_TOOL"):
    """An agent with a tool that this tenant does not have, whether or not another tenant does."""

    message = "An agent can only use tools of its own tenant"
    example: ClassVar = {"tool_ids": [_ID]}


class InsufficientScope(AuthorizationError, code="INSUFFICIENT_SCOPE"):
    """The key lacks the scope of the route."""

    message = "This API key lacks the scope in details.required_scope"
    example: ClassVar = {"required_scope": "tools:write"}


class NotFound(ApiError, status=404):
    """The tenant has no such thing, whether or not another tenant does."""


class ToolNotFound(NotFound, code="TOOL_NOT_FOUND"):
    """This tenant has no such tool."""

    message = "No such tool"
    example: ClassVar = {"tool_id": _ID}


class AgentNotFound(NotFound, code="AGENT_NOT_FOUND"):
    """This tenant has no such agent."""

    message = "No such agent"
    example: ClassVar = {"agent_id": _ID}


class ExecutionNotFound(NotFound, code="EXECUTION_NOT_FOUND"):
    """This tenant has no such execution."""

    message = "No such execution"
    example: ClassVar = {"execution_id": _ID}


class StepNotFound(NotFound, code="STEP_NOT_FOUND"):
    """This run has no such step, or the step needs no approval."""

    message = "This run has no step of this number that needs an approval"
    example: ClassVar = {"execution_id": _ID, "step": 3}


class SecretNotFound(NotFound, code="SECRET_NOT_FOUND"):
    """This tenant has no such secret."""

    message = "No such secret"
    example: ClassVar = {"name": "search_api_key"}


class KeyNotFound(NotFound, code="KEY_NOT_FOUND"):
    """This tenant has no such key."""

    message = "No such API key"
    example: ClassVar = {"key_id": _ID}


class TenantNotFound(NotFound, code="TENANT_NOT_FOUND"):
    """The platform has no such tenant."""

    message = "No such tenant"
    example: ClassVar = {"tenant_id": _ID}


class RouteNotFound(NotFound, code="ROUTE_NOT_FOUND"):
    """No route has this path."""

    message = "No such path; GET /openapi.json lists them"


class MethodNotAllowed(ApiError, status=405, code="METHOD_NOT_ALLOWED"):
    """The path exists, but not with this method; the response has `Allow`."""

    message = "This path does not support this method; the Allow header lists those it does"


class Conflict(ApiError, status=409):
    """The request does not fit the present state."""


class DuplicateToolName(Conflict, code="DUPLICATE_TOOL_NAME"):
    """The tenant has a tool of this name."""

    message = "A tool of this name exists; choose another name or update that tool"
    example: ClassVar = {"name": "web_search"}


class DuplicateAgentName(Conflict, code="DUPLICATE_AGENT_NAME"):
    """The tenant has an agent of this name."""

    message = "An agent of this name exists; choose another name or update that agent"
    example: ClassVar = {"name": "Research Assistant"}


class ToolInUse(Conflict, code="TOOL_IN_USE"):
    """The tool cannot be deleted: agents use it."""

    message = "Agents use this tool; remove it from them first"
    example: ClassVar = {"dependent_agents": [{"id": _ID, "name": "Research Assistant"}]}


class ExecutionAlreadyFinished(Conflict, code="EXECUTION_ALREADY_FINISHED"):
    """The run cannot be cancelled: it has finished."""

    message = "This run has already finished"
    example: ClassVar = {"execution_id": _ID, "status": "completed"}


class ApprovalClosed(Conflict, code="APPROVAL_CLOSED"):
    """The approval was decided otherwise, or has expired."""

    message = "This step no longer waits for an approval"
    example: ClassVar = {"execution_id": _ID, "step": 3, "decision": "reject"}


class TenantProtected(Conflict, code="TENANT_PROTECTED"):
    """The platform's own tenant cannot be suspended or deleted."""

    message = "This is the platform's own tenant, which cannot be suspended or deleted"
    example: ClassVar = {"tenant_id": "00000000-0000-0000-0000-000000000000"}


class TenantDeleted(Conflict, code="TENANT_DELETED"):
    """A deleted tenant can only be resumed, and only until its grace period ends."""

    message = "This tenant is deleted; until delete_after it can be resumed"
    example: ClassVar = {"tenant_id": _ID, "delete_after": "2024-01-22T10:30:00Z"}


class IdempotencyKeyInUse(Conflict, code="IDEMPOTENCY_KEY_IN_USE"):
    """The first request with this `Idempotency-Key` is still in progress."""

    retry_after = 1
    message = "The first request with this Idempotency-Key is still in progress; try again"


class PayloadTooLarge(ApiError, status=413, code="PAYLOAD_TOO_LARGE"):
    """The request exceeds 6 MB, Lambda's limit; API Gateway answers by itself."""

    message = "The request is too large"
    example: ClassVar = {"limit_bytes": 6291456}


class UnsupportedMediaType(ApiError, status=415, code="UNSUPPORTED_MEDIA_TYPE"):
    """The body is not declared as JSON."""

    message = "Send a JSON body with Content-Type: application/json"


class Unprocessable(ApiError, status=422):
    """The request is understood, but its content is not valid."""


class ValidationFailed(Unprocessable, code="VALIDATION_ERROR"):
    """The body, path, query or a header is not as documented; `errors` says where and why."""

    message = "The request is not valid; details.errors says where and why"
    example: ClassVar = {
        "errors": [{"field": "body.name", "message": "Field required", "type": "missing"}]
    }

    @classmethod
    def of(cls, field: str, message: str, kind: str = "value_error") -> "ValidationFailed":
        """Return the error of one field, such as `query.cursor`."""
        return cls(errors=[{"field": field, "message": message, "type": kind}])


class IdempotencyKeyReused(Unprocessable, code="IDEMPOTENCY_KEY_REUSED"):
    """The `Idempotency-Key` was sent before, with another path or body."""

    message = "Another request has used this Idempotency-Key; use a new one for a new request"


class UnsupportedModel(Unprocessable, code="UNSUPPORTED_MODEL"):
    """The platform does not offer this model."""

    message = "This model is not offered; details.supported_models lists those that are"
    example: ClassVar = {"model": "gpt-2", "supported_models": ["gpt-4o"]}


class TooManyRequests(ApiError, status=429):
    """The tenant has reached a limit."""


class RateLimitExceeded(TooManyRequests, code="RATE_LIMIT_EXCEEDED"):
    """The tenant has made as many requests in the last minute as its limit allows."""

    retry_after = 60  # the whole window, unless the limiter knows better
    message = "Rate limit exceeded; try again after the seconds in Retry-After"
    example: ClassVar = {"limit": 100, "window_seconds": 60, "retry_after_seconds": 17}


class TooManyRuns(TooManyRequests, code="TOO_MANY_RUNS"):
    """The tenant has as many runs in progress as its limit allows."""

    retry_after = RETRY_AFTER_SECONDS
    message = "The limit of concurrent runs is reached; try again when one has finished"
    example: ClassVar = {"limit": 10}


class InternalServerError(ApiError, status=500, code="INTERNAL_SERVER_ERROR"):
    """An error of the platform; its log has the cause under the request id."""

    message = "Something went wrong on our side; quote the request id"
    example: ClassVar = {"request_id": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"}


class ModelProviderFailed(ApiError, status=502, code="MODEL_PROVIDER_FAILED"):
    """The model's provider gave no usable answer, so the run has `failed`."""

    message = "The model's provider gave no usable answer; details.reason says why"
    example: ClassVar = {"execution_id": _ID, "reason": "rate_limited"}


class ServiceUnavailable(ApiError, status=503, code="SERVICE_UNAVAILABLE"):
    """A dependency is unavailable."""

    retry_after = RETRY_AFTER_SECONDS
    message = "A dependency is unavailable; try again after the seconds in Retry-After"
    example: ClassVar = {"reason": "database"}


class DeadlineExceeded(ApiError, status=504, code="DEADLINE_EXCEEDED"):
    """The response was not ready in time."""

    message = "The request took too long and was given up"


def responses(*errors: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """Return what a route declares of the errors it can answer; `make openapi` describes them."""
    declared: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        codes = declared.setdefault(error.status, {"x-error-codes": []})["x-error-codes"]
        codes.append(error.error_code)
    return declared
