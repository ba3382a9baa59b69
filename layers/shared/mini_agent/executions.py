"""A run's statuses and stop reasons, declared once.

README lists them and the OpenAPI document names them; a test holds both equal to this file.
"""

from typing import Literal, get_args

FinishedStatus = Literal["completed", "failed", "cancelled"]
Status = Literal["queued", "running", "waiting_approval", FinishedStatus]
FINISHED_STATUSES: frozenset[str] = frozenset(get_args(FinishedStatus))

ProviderStopReason = Literal[
    "rate_limited", "provider_unavailable", "credentials_refused", "bad_answer", "request_refused"
]
"""The model's provider did not answer: the caller is told so with a 502."""
StopReason = Literal[
    "answered",
    "refusal",
    "max_steps",
    "max_tokens",
    "max_cost",
    "timeout",
    "output_too_large",
    ProviderStopReason,
    "approval_expired",
    "cancelled",
    "interrupted",
    "crashed",
    "budget_exceeded",
    "budget_unavailable",
]
PROVIDER_STOP_REASONS: frozenset[str] = frozenset(get_args(ProviderStopReason))
