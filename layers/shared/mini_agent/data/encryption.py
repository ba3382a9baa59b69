"""Sealing the secrets of tenants: with a key of KMS, or, locally, with one from the settings.

What is sealed opens for the tenant and the name that it was sealed for, and for nothing else.
"""

import base64
import os
from typing import Any
from uuid import UUID

from mini_agent import aws
from mini_agent.errors import ServiceUnavailable
from mini_agent.settings import Settings, settings
from mini_agent.telemetry import logger

if Settings().secrets_key.startswith("kms:"):
    import boto3  # noqa: F401 - loaded, not used yet: see `aws`

_NONCE_BYTES = 12


class DecryptionFailed(Exception):
    """Sealed for another tenant or name, with another key, or not by us."""


def encrypt(tenant_id: UUID, name: str, value: str) -> bytes:
    """Return a value sealed; raises ServiceUnavailable without a key, or while KMS is away."""
    way, _, key = settings().secrets_key.partition(":")
    match way:
        case "kms":
            context = _context(tenant_id, name)
            answer = _kms("encrypt", KeyId=key, Plaintext=value.encode(), EncryptionContext=context)
            sealed: bytes = answer["CiphertextBlob"]
        case "local":
            nonce = os.urandom(_NONCE_BYTES)
            sealed = nonce + _aes(key).encrypt(nonce, value.encode(), _bound(tenant_id, name))
        case _:
            raise ServiceUnavailable(reason="secrets")
    return sealed


def decrypt(tenant_id: UUID, name: str, sealed: bytes) -> str:
    """Return what was sealed; raises NotSealedForThis, and what `seal` raises."""
    way, _, key = settings().secrets_key.partition(":")
    match way:
        case "kms":
            context = _context(tenant_id, name)
            answer = _kms("decrypt", KeyId=key, CiphertextBlob=sealed, EncryptionContext=context)
            value: bytes = answer["Plaintext"]
        case "local":
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _aes

            nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            try:
                value = _aes(key).decrypt(nonce, rest, _bound(tenant_id, name))
            except (InvalidTag, ValueError):  # the latter where it is too short
                raise DecryptionFailed from None
        case _:
            raise ServiceUnavailable(reason="secrets")
    return value.decode()


def _context(tenant_id: UUID, name: str) -> dict[str, str]:
    return {"tenant_id": str(tenant_id), "name": name}


def _bound(tenant_id: UUID, name: str) -> bytes:
    return tenant_id.bytes + name.encode()


def _kms(operation: str, **parameters: Any) -> dict[str, Any]:
    try:
        return aws.call("kms", operation, **parameters)
    except aws.AwsCallFailed as error:
        if error.code in {"InvalidCiphertextException", "IncorrectKeyException"}:
            raise DecryptionFailed from None
        logger.warning("no answer from KMS", extra={"cause": error.code})
        raise ServiceUnavailable(reason="secrets") from None


def _aes(key: str) -> Any:
    # Of the group `local`: no function on AWS has it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return AESGCM(base64.urlsafe_b64decode(key))
