"""The API Gateway authorizer: from an API key to its tenant, or to a refusal.

A plain handler without FastAPI, since every request that API Gateway has no cached policy for waits
for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from aws_lambda_powertools.utilities.typing import LambdaContext

from mini_agent.data import db
from mini_agent.identity import api_keys
from mini_agent.identity.callers import Caller
from mini_agent.identity.peppers import peppers
from mini_agent.settings import settings
from mini_agent.telemetry import count, logger, metrics

HEADER = "x-api-key"


@dataclass(frozen=True, slots=True)
class _KeyOwner:
    tenant_id: UUID
    key_id: UUID
    scopes: list[str]
    requests_per_minute: int


@dataclass(frozen=True, slots=True)
class _RefusalRecord:
    noted: bool


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return a policy for the whole stage, since API Gateway caches it for every route.

    An invalid key gets a policy that denies, not an exception, so that this is cached too. Raises
    what `db.call` raises while keys cannot be checked; API Gateway then answers 503.
    """
    caller = identify(_sent_keys(event), event.get("requestContext") or {})
    count("KeysAccepted" if caller else "KeysRefused")
    return {
        "principalId": str(caller.tenant_id) if caller else "nobody",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow" if caller else "Deny",
                    "Resource": _stage_arn(event["methodArn"]),
                }
            ],
        },
        "context": caller.context() if caller else {},
    }


def identify(
    sent_keys: list[str], request_context: Mapping[str, Any] = MappingProxyType({})
) -> Caller | None:
    """Return whose key was sent, or None unless it is exactly one valid key.

    Only a well-formed key costs a query. A key that was revoked, has expired or belongs to a
    suspended tenant is recorded in the audit log, with its request.
    """
    if len(sent_keys) != 1 or not _is_plausible(sent_keys[0]):
        return None
    digests = [api_keys.digest(sent_keys[0], pepper) for pepper in peppers().values()]
    owners = db.call("authorizer/authenticate", {"digests": digests}, _KeyOwner)
    if len(owners) != 1:
        if api_keys.is_well_formed(sent_keys[0]):
            _record_refusal(digests, request_context)
        return None
    [owner] = owners
    return Caller(owner.tenant_id, owner.key_id, frozenset(owner.scopes), owner.requests_per_minute)


def _record_refusal(digests: list[bytes], request_context: Mapping[str, Any]) -> None:
    """Record a refused key in its tenant's audit log, if it ever had one; a failure is logged."""
    parameters = {
        "digests": digests,
        "request_id": str(request_context.get("requestId", "")),
        "address": str((request_context.get("identity") or {}).get("sourceIp", "")),
    }
    try:
        db.call("authorizer/log_refused_key", parameters, _RefusalRecord)
    except Exception as error:  # noqa: BLE001 - whatever it is, the key stays refused
        logger.warning("a refused key was not recorded", extra={"cause": type(error).__name__})


def _is_plausible(key: str) -> bool:
    is_demo_key = settings().profile == "local" and key in api_keys.DEMO_KEYS
    return is_demo_key or api_keys.is_well_formed(key)


def _sent_keys(event: Mapping[str, Any]) -> list[str]:
    """Return every value of the header, its name in any case."""
    headers: Mapping[str, list[str]] = event.get("multiValueHeaders") or {
        name: [value] for name, value in (event.get("headers") or {}).items()
    }
    return [value for name, values in headers.items() if name.lower() == HEADER for value in values]


def _stage_arn(method_arn: str) -> str:
    """Return `…:api-id/stage/*` for `…:api-id/stage/GET/path`."""
    api_id, stage, _ = method_arn.split("/", 2)
    return f"{api_id}/{stage}/*"
