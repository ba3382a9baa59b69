"""Encrypting, listing and deleting a tenant's secrets."""

from functions.secrets.models import Secret, SecretQuery, SecretValue
from mini_agent.data import db, encryption
from mini_agent.errors import SecretNotFound
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller


def put(caller: Caller, name: str, secret: SecretValue) -> Secret:
    """Return the new or changed secret; raises ServiceUnavailable without an encryption key."""
    encrypted = encryption.encrypt(caller.tenant_id, name, secret.value.get_secret_value())
    [stored] = db.write(
        caller, db.Query("secrets/put", {"name": name, "ciphertext": encrypted}, Secret)
    )
    return stored


def list_page(caller: Caller, query: SecretQuery) -> pagination.Page[Secret]:
    """Return a page of secrets, oldest first, without their values."""
    return pagination.fetch(caller, "secrets", query, Secret)


def delete(caller: Caller, name: str) -> None:
    """Delete a secret; raises SecretNotFound."""
    deleted = db.write(caller, db.Query("secrets/delete", {"name": name}, Secret))
    db.first(deleted, SecretNotFound(name=name))
