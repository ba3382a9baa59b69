"""The API Gateway authorizer: a key becomes a tenant, or nothing.

A plain handler: it runs on the way in of every request that API Gateway's cache does not answer.
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
class _Owner:
    """Whom a key belongs to."""

    tenant_id: UUID
    key_id: UUID
    scopes: list[str]
    requests_per_minute: int


@dataclass(frozen=True, slots=True)
class _Noted:
    noted: bool


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return a policy for this API's stage as a whole, since API Gateway caches it for every route.

    An unknown key is denied rather than refused by an exception, so that this is cached too. Raises
    what `db.call` raises where keys cannot be checked; API Gateway then answers 503.
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


def identify(sent: list[str], request: Mapping[str, Any] = MappingProxyType({})) -> Caller | None:
    """Return whom the one key sent belongs to, or None; asks the database for well-formed keys.

    One that belonged to somebody and is refused is noted, with the `request` that it came in.
    """
    if len(sent) != 1 or not _is_plausible(sent[0]):
        return None
    digests = [api_keys.digest(sent[0], pepper) for pepper in peppers().values()]
    owners = db.call("authorizer/authenticate", {"digests": digests}, _Owner)
    if len(owners) != 1:
        if api_keys.is_well_formed(sent[0]):
            _note(digests, request)
        return None
    [owner] = owners
    return Caller(owner.tenant_id, owner.key_id, frozenset(owner.scopes), owner.requests_per_minute)


def _note(digests: list[bytes], request: Mapping[str, Any]) -> None:
    """Note a refused key in its tenant's audit log; it is refused, whether or not this succeeds."""
    refused = {
        "digests": digests,
        "request_id": str(request.get("requestId", "")),
        "address": str((request.get("identity") or {}).get("sourceIp", "")),
    }
    try:
        db.call("authorizer/note_refused", refused, _Noted)
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is more important
        logger.warning("a refused key was not noted", extra={"cause": type(error).__name__})


def _is_plausible(key: str) -> bool:
    demo = settings().profile == "local" and key in api_keys.DEMO_KEYS
    return demo or api_keys.is_well_formed(key)


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
