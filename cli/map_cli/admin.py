"""`map admin`: for the platform's operators."""

from typing import Annotated

import typer

from map_cli import audit, bootstrap, output
from map_cli.options import (
    AllPages,
    Api,
    AsJson,
    CreatedAfter,
    CreatedBefore,
    Days,
    Limit,
    Scopes,
    fields,
    json_fields,
)

app = typer.Typer(name="admin", help="For the platform's operators.", no_args_is_help=True)
tenants = typer.Typer(name="tenants", help="Manage tenants.", no_args_is_help=True)

TENANTS = ("admin", "tenants")
COLUMNS = (
    "id",
    "name",
    "status",
    "limits.requests_per_minute",
    "limits.concurrent_runs",
    "limits.spend_per_month_usd",
    "created_at",
    "delete_after",
)
USAGE = ("day", "model", "runs", "input_tokens", "output_tokens", "cost_usd")

Tenant = Annotated[str, typer.Argument(help="Its name or id")]
LimitOf = Annotated[str | None, typer.Option(metavar="NUMBER|null", help="null removes the limit")]
Requests = Annotated[int | None, typer.Option(help="All requests; 100 by default")]


@tenants.command("list")
def list_tenants(
    api: Api,
    name: str | None = None,
    status: Annotated[str | None, typer.Option(help="active, suspended or deleted")] = None,
    limit: Limit = 20,
    all_pages: AllPages = False,
    as_json: AsJson = False,
) -> None:
    """List tenants, oldest first."""
    found = api.page(*TENANTS, limit=limit, all_pages=all_pages, name=name, status=status)
    output.write_page(found, COLUMNS, as_json=as_json)


@tenants.command("get")
def get_tenant(api: Api, tenant: Tenant, as_json: AsJson = False) -> None:
    """Show a tenant."""
    found = api.call("GET", *TENANTS, api.id_of(*TENANTS, name=tenant))
    output.write_record(found, as_json=as_json)


@tenants.command("create")
def create_tenant(
    api: Api,
    name: str,
    requests_per_minute: Requests = None,
    runs_per_minute: LimitOf = None,
    concurrent_runs: LimitOf = None,
    tokens_per_day: LimitOf = None,
    spend_per_month_usd: LimitOf = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant and its first key, which has all scopes of a tenant."""
    limits = fields(requests_per_minute=requests_per_minute) | json_fields(
        runs_per_minute=runs_per_minute,
        concurrent_runs=concurrent_runs,
        tokens_per_day=tokens_per_day,
        spend_per_month_usd=spend_per_month_usd,
    )
    tenant = fields(name=name, limits=limits or None)
    output.write_new_key(api.call("POST", *TENANTS, body=tenant), as_json=as_json)


@tenants.command("change")
def change_tenant(
    api: Api,
    tenant: Tenant,
    name: Annotated[str | None, typer.Option(help="Its new name")] = None,
    requests_per_minute: Requests = None,
    runs_per_minute: LimitOf = None,
    concurrent_runs: LimitOf = None,
    tokens_per_day: LimitOf = None,
    spend_per_month_usd: LimitOf = None,
    retention_days: Annotated[
        str | None, typer.Option(metavar="NUMBER|null", help="null keeps runs forever")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the fields that are given."""
    limits = fields(requests_per_minute=requests_per_minute) | json_fields(
        runs_per_minute=runs_per_minute,
        concurrent_runs=concurrent_runs,
        tokens_per_day=tokens_per_day,
        spend_per_month_usd=spend_per_month_usd,
    )
    change = fields(name=name, limits=limits or None) | json_fields(retention_days=retention_days)
    changed = api.call("PUT", *TENANTS, api.id_of(*TENANTS, name=tenant), body=change)
    output.write_record(changed, as_json=as_json)


@tenants.command("suspend")
def suspend_tenant(api: Api, tenant: Tenant, as_json: AsJson = False) -> None:
    """Refuse all keys of a tenant from now on; its data are kept."""
    found = api.call("POST", *TENANTS, api.id_of(*TENANTS, name=tenant), "suspend")
    output.write_record(found, as_json=as_json)


@tenants.command("resume")
def resume_tenant(api: Api, tenant: Tenant, as_json: AsJson = False) -> None:
    """Accept the keys of a suspended tenant again."""
    found = api.call("POST", *TENANTS, api.id_of(*TENANTS, name=tenant), "resume")
    output.write_record(found, as_json=as_json)


@tenants.command("delete")
def delete_tenant(
    api: Api,
    tenant: Tenant,
    grace_days: Annotated[
        int | None, typer.Option(help="Days in which it can be resumed; 7 by default")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation")] = False,
    as_json: AsJson = False,
) -> None:
    """Refuse all keys of a tenant now, and delete its data after the grace period."""
    if not yes:
        typer.confirm(f"Delete {tenant} and all its data?", abort=True, err=True)
    found = api.call("DELETE", *TENANTS, api.id_of(*TENANTS, name=tenant), grace_days=grace_days)
    output.write_record(found, as_json=as_json)


@tenants.command("usage")
def show_usage(
    api: Api,
    tenant: Tenant,
    model: str | None = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    as_json: AsJson = False,
) -> None:
    """Sum a tenant's tokens, runs and cost by day and model, by default of 30 days."""
    found = api.call(
        "GET",
        *TENANTS,
        api.id_of(*TENANTS, name=tenant),
        "usage",
        model=model,
        created_after=created_after,
        created_before=created_before,
    )
    output.write_page(found, USAGE, as_json=as_json)


@tenants.command("key")
def create_key(
    api: Api,
    tenant: Tenant,
    name: str,
    scopes: Scopes = None,
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Create a key for a tenant that has lost its own; without --scope it has all scopes."""
    key = fields(name=name, scopes=scopes, expires_in_days=expires_in_days)
    created = api.call("POST", *TENANTS, api.id_of(*TENANTS, name=tenant), "keys", body=key)
    output.write_new_key(created, as_json=as_json)


@app.command("audit")
def list_audit(
    api: Api,
    tenant: Annotated[str | None, typer.Option(help="Its name or id")] = None,
    action: audit.Action = None,
    key_id: audit.KeyUsed = None,
    target_type: audit.TargetType = None,
    target_id: audit.TargetId = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = 20,
    all_pages: AllPages = False,
    as_json: AsJson = False,
) -> None:
    """List the changes in all tenants, newest first."""
    found = api.page(
        "admin",
        "audit",
        limit=limit,
        all_pages=all_pages,
        tenant_id=tenant and api.id_of(*TENANTS, name=tenant),
        action=action,
        key_id=key_id,
        target_type=target_type,
        target_id=target_id,
        created_after=created_after,
        created_before=created_before,
    )
    output.write_page(found, ("tenant_id", *audit.COLUMNS), as_json=as_json)


app.command("bootstrap")(bootstrap.make_key)
app.add_typer(tenants)
