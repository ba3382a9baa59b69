"""The rules of secrets."""

from functions.secrets.models import SecretIn, SecretQuery, StoredSecret
from mini_agent import db, page, sealing
from mini_agent.errors import SecretNotFound
from mini_agent.tenant import Caller


def put(caller: Caller, name: str, secret: SecretIn) -> StoredSecret:
    """Return the new or changed secret; raises ServiceUnavailable where nothing can be sealed."""
    sealed = sealing.seal(caller.tenant_id, name, secret.value.get_secret_value())
    [stored] = db.write(
        caller, db.Query("secrets/put", {"name": name, "sealed": sealed}, StoredSecret)
    )
    return stored


def list_page(caller: Caller, query: SecretQuery) -> page.Page[StoredSecret]:
    """Return a page of secrets, oldest first, without their values."""
    return page.fetch(caller, "secrets", query, StoredSecret)


def delete(caller: Caller, name: str) -> None:
    """Delete a secret; raises SecretNotFound."""
    if not db.write(caller, db.Query("secrets/delete", {"name": name}, StoredSecret)):
        raise SecretNotFound(name=name)
