"""Encryption of the tenants' secrets: with a key of KMS, or, locally, with one from the settings.

A ciphertext can only be decrypted for the tenant and the name that it was encrypted for.
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


class DecryptionError(Exception):
    """The ciphertext is another tenant's or name's, of another key, or not ours."""


def encrypt(tenant_id: UUID, name: str, value: str) -> bytes:
    """Return a ciphertext; raises ServiceUnavailable without a key, or while KMS is unavailable."""
    kind, _, key = settings().secrets_key.partition(":")
    if kind == "kms":
        context = {"tenant_id": str(tenant_id), "name": name}
        answer = _kms("encrypt", KeyId=key, Plaintext=value.encode(), EncryptionContext=context)
        return bytes(answer["CiphertextBlob"])
    if kind == "local":
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = _aes(key).encrypt(nonce, value.encode(), tenant_id.bytes + name.encode())
        return nonce + sealed
    raise ServiceUnavailable(reason="secrets")


def decrypt(tenant_id: UUID, name: str, ciphertext: bytes) -> str:
    """Return the encrypted value; raises DecryptionError, and what `encrypt` raises."""
    kind, _, key = settings().secrets_key.partition(":")
    if kind == "kms":
        context = {"tenant_id": str(tenant_id), "name": name}
        answer = _kms("decrypt", KeyId=key, CiphertextBlob=ciphertext, EncryptionContext=context)
        return bytes(answer["Plaintext"]).decode()
    if kind == "local":
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only installed locally

        nonce, rest = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        try:
            value: bytes = _aes(key).decrypt(nonce, rest, tenant_id.bytes + name.encode())
        except (InvalidTag, ValueError):  # the latter if it is too short
            raise DecryptionError from None
        return value.decode()
    raise ServiceUnavailable(reason="secrets")


def _kms(operation: str, **parameters: Any) -> dict[str, Any]:
    try:
        return aws.call("kms", operation, **parameters)
    except aws.AwsError as error:
        if error.code in {"InvalidCiphertextException", "IncorrectKeyException"}:
            raise DecryptionError from None
        logger.warning("no answer from KMS", extra={"cause": error.code})
        raise ServiceUnavailable(reason="secrets") from None


def _aes(key: str) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - only installed locally

    return AESGCM(base64.urlsafe_b64decode(key))
