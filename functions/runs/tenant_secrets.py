"""A tenant's secrets, decrypted: for models and for tools."""

from typing import Any

from mini_agent.data import db
from mini_agent.identity.callers import Caller, RunCaller
from mini_agent.settings import settings


def load(caller: Caller | RunCaller, names: list[str]) -> dict[str, str]:
    """Return the values of those of these secrets that the tenant has.

    Raises DecryptionError, and ServiceUnavailable while KMS is away.
    """
    if not names or not settings().secrets_key:
        return {}
    rows = db.read(caller, db.Query("runs/list_secrets", {"names": names}, dict[str, Any]))
    if not rows:
        return {}
    from mini_agent.data.encryption import decrypt  # noqa: PLC0415 - only needed with secrets

    return {row["name"]: decrypt(caller.tenant_id, row["name"], row["ciphertext"]) for row in rows}
