"""The rules of secrets."""

from functions.secrets.models import SecretIn, SecretQuery, StoredSecret
from mini_agent.data import db, encryption
from mini_agent.errors import SecretNotFound
from mini_agent.http import pagination
from mini_agent.identity.callers import Caller


def put(caller: Caller, name: str, secret: SecretIn) -> StoredSecret:
    """Return the new or changed secret; raises ServiceUnavailable where nothing can be sealed."""
    sealed = encryption.encrypt(caller.tenant_id, name, secret.value.get_secret_value())
    [stored] = db.write(
        caller, db.Query("secrets/put", {"name": name, "sealed": sealed}, StoredSecret)
    )
    return stored


def list_page(caller: Caller, query: SecretQuery) -> pagination.Page[StoredSecret]:
    """Return a page of secrets, oldest first, without their values."""
    return pagination.fetch(caller, "secrets", query, StoredSecret)


def delete(caller: Caller, name: str) -> None:
    """Delete a secret; raises SecretNotFound."""
    if not db.write(caller, db.Query("secrets/delete", {"name": name}, StoredSecret)):
        raise SecretNotFound(name=name)
