"""The endpoints of keys, the audit log and operators, as `endpoints` has the others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from scripts.bench.endpoints import PAGE, Case, Endpoint, read, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.bench.data import Data

DAYS = {"expires_in_days": 90}
ENTRIES = (
    *("tenant_id", "action", "key_id", "target_type", "target_id"),
    *("created_after", "created_before"),
)


def managing(data: Data) -> list[Endpoint]:
    """Return the endpoints of the three rooms."""
    return [*_keys(data), *_audit(), *_tenants(data)]


def _minted() -> dict[str, Any]:
    """Return what is kept of a key, but for the key: nobody will use it."""
    kept = {"prefix": "map_live_", "last_four": "none", "pepper_version": 1}
    return kept | {"id": uuid4(), "digest": os.urandom(32)}


def _keys(data: Data) -> list[Endpoint]:
    path, function = "/api/v1/keys", "KeysFunction"

    def create(n: int) -> Case:
        body: dict[str, Any] = {"name": f"key {n}", "scopes": ["tools:read"]}
        return Case("POST", path, body, _minted() | body | DAYS)

    def list_(_: int) -> Case:
        return Case("GET", path, None, {"name": None, **PAGE})

    def get(_: int) -> Case:
        key = data.caller["key_id"]
        return Case("GET", f"{path}/{key}", None, {"id": key})

    def rotate(n: int) -> Case:
        old, body = data.spare_keys[n], {"overlap_seconds": 60}
        parameters = _minted() | {"old_id": old, "name": "key", **body, **DAYS}
        return Case("POST", f"{path}/{old}/rotate", body, parameters)

    def revoke(n: int) -> Case:
        key = data.spare_keys[n]
        return Case("DELETE", f"{path}/{key}", None, {"id": key})

    rotation = read("keys/get") + write("keys/rotate")
    return [
        Endpoint(f"POST {path}", function, create, write("keys/create")),
        Endpoint(f"GET {path}", function, list_, read("keys/list")),
        Endpoint(f"GET {path}/{{id}}", function, get, read("keys/get")),
        Endpoint(f"POST {path}/{{id}}/rotate", function, rotate, rotation),
        Endpoint(f"DELETE {path}/{{id}}", function, revoke, write("keys/revoke")),
    ]


def _audit() -> list[Endpoint]:
    def list_(path: str) -> Callable[[int], Case]:
        return lambda _: Case("GET", path, None, dict.fromkeys(ENTRIES) | PAGE)

    own, all_ = "/api/v1/audit", "/api/v1/admin/audit"
    entries = read("audit/list")
    return [
        Endpoint(f"GET {own}", "AuditFunction", list_(own), entries),
        Endpoint(f"GET {all_}", "AdminFunction", list_(all_), entries, operators=True),
    ]


def _tenants(data: Data) -> list[Endpoint]:
    path = "/api/v1/admin/tenants"
    one = {"id": data.tenant}
    first = {"key_name": "first", "scopes": data.caller["scopes"].split(), **DAYS}

    def create(n: int) -> Case:
        minted = _minted()
        row = {"name": f"tenant {n}", "requests_per_minute": 100}
        parameters = minted | first | {"key_id": minted["id"], "tenant": Jsonb(row)}
        return Case("POST", path, {"name": f"tenant {n}"}, parameters)

    def list_(_: int) -> Case:
        return Case("GET", path, None, {"name": None, "status": None, **PAGE})

    def get(_: int) -> Case:
        return Case("GET", f"{path}/{data.tenant}", None, one)

    def update(n: int) -> Case:
        body = {"name": f"renamed {n}"}
        return Case("PUT", f"{path}/{data.tenant}", body, one | {"change": Jsonb(body)})

    def turn(way: str, status: str) -> Callable[[int], Case]:
        turned = one | {"status": status, "grace_days": None}
        return lambda _: Case("POST", f"{path}/{data.tenant}/{way}", None, turned)

    def delete(n: int) -> Case:
        tenant = data.spare_tenants[n]
        parameters = {"id": tenant, "status": "deleted", "grace_days": 7}
        return Case("DELETE", f"{path}/{tenant}", None, parameters)

    def make_key(n: int) -> Case:
        parameters = _minted() | first | {"tenant_id": data.tenant}
        return Case("POST", f"{path}/{data.tenant}/keys", {"name": f"key {n}"}, parameters)

    def usage(_: int) -> Case:
        bounds = dict.fromkeys(("model", "created_after", "created_before"))
        parameters = one | bounds | {"tenant_id": data.tenant}
        return Case("GET", f"{path}/{data.tenant}/usage", None, parameters)

    def of(name: str, case: Callable[[int], Case], *queries: str, writes: bool = True) -> Endpoint:
        exchanges = write(*queries) if writes else read(*queries)
        return Endpoint(name, "AdminFunction", case, exchanges, operators=True)

    item = f"{path}/{{id}}"
    set_status = "admin/set_status"
    return [
        of(f"POST {path}", create, "admin/create"),
        of(f"GET {path}", list_, "admin/list", writes=False),
        of(f"GET {item}", get, "admin/get", writes=False),
        of(f"PUT {item}", update, "admin/update"),
        of(f"POST {item}/suspend", turn("suspend", "suspended"), set_status),
        of(f"POST {item}/resume", turn("resume", "active"), set_status),
        of(f"DELETE {item}", delete, set_status),
        of(f"POST {item}/keys", make_key, "admin/create_key"),
        of(f"GET {item}/usage", usage, "admin/get", "admin/list_usage", writes=False),
    ]
