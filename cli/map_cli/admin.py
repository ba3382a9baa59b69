"""`map admin`: for the platform's operators."""

from typing import Annotated

import typer

from map_cli import audit, bootstrap, output
from map_cli.options import (
    After,
    Api,
    AsJson,
    Before,
    Days,
    Everything,
    Limit,
    Scopes,
    given,
    given_json,
)

app = typer.Typer(name="admin", help="For the platform's operators.", no_args_is_help=True)
tenants = typer.Typer(name="tenants", help="Who uses the platform.", no_args_is_help=True)

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
LimitOf = Annotated[str | None, typer.Option(metavar="NUMBER|null", help="null lifts it")]
Requests = Annotated[int | None, typer.Option(help="In all; 100 at first")]


@tenants.command("list")
def list_tenants(
    api: Api,
    name: str | None = None,
    status: Annotated[str | None, typer.Option(help="active, suspended or deleted")] = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List tenants, oldest first."""
    found = api.page(*TENANTS, limit=limit, everything=everything, name=name, status=status)
    output.page(found, COLUMNS, as_json=as_json)


@tenants.command("get")
def get_tenant(api: Api, tenant: Tenant, as_json: AsJson = False) -> None:
    """Show a tenant."""
    found = api.ask("GET", *TENANTS, api.id_of(*TENANTS, name=tenant))
    output.record(found, as_json=as_json)


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
    """Create a tenant with its first key, which may do all that a tenant's key can."""
    limits = given(requests_per_minute=requests_per_minute) | given_json(
        runs_per_minute=runs_per_minute,
        concurrent_runs=concurrent_runs,
        tokens_per_day=tokens_per_day,
        spend_per_month_usd=spend_per_month_usd,
    )
    tenant = given(name=name, limits=limits or None)
    output.made(api.ask("POST", *TENANTS, body=tenant), as_json=as_json)


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
        str | None, typer.Option(metavar="NUMBER|null", help="null keeps runs for good")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given."""
    limits = given(requests_per_minute=requests_per_minute) | given_json(
        runs_per_minute=runs_per_minute,
        concurrent_runs=concurrent_runs,
        tokens_per_day=tokens_per_day,
        spend_per_month_usd=spend_per_month_usd,
    )
    change = given(name=name, limits=limits or None) | given_json(retention_days=retention_days)
    changed = api.ask("PUT", *TENANTS, api.id_of(*TENANTS, name=tenant), body=change)
    output.record(changed, as_json=as_json)


@tenants.command("suspend")
def suspend_tenant(api: Api, tenant: Tenant, as_json: AsJson = False) -> None:
    """Refuse all its keys from now on, and keep its data."""
    found = api.ask("POST", *TENANTS, api.id_of(*TENANTS, name=tenant), "suspend")
    output.record(found, as_json=as_json)


@tenants.command("resume")
def resume_tenant(api: Api, tenant: Tenant, as_json: AsJson = False) -> None:
    """Take its keys again."""
    found = api.ask("POST", *TENANTS, api.id_of(*TENANTS, name=tenant), "resume")
    output.record(found, as_json=as_json)


@tenants.command("delete")
def delete_tenant(
    api: Api,
    tenant: Tenant,
    grace_days: Annotated[
        int | None, typer.Option(help="How long it can be resumed; else 7")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Refuse all its keys from now on, and delete all its data once the grace is over."""
    if not yes:
        typer.confirm(f"Delete {tenant} and all its data?", abort=True, err=True)
    found = api.ask("DELETE", *TENANTS, api.id_of(*TENANTS, name=tenant), grace_days=grace_days)
    output.record(found, as_json=as_json)


@tenants.command("usage")
def show_usage(
    api: Api,
    tenant: Tenant,
    model: str | None = None,
    created_after: After = None,
    created_before: Before = None,
    as_json: AsJson = False,
) -> None:
    """Add up a tenant's tokens, runs and cost by day and model; of 30 days unless told."""
    found = api.ask(
        "GET",
        *TENANTS,
        api.id_of(*TENANTS, name=tenant),
        "usage",
        model=model,
        created_after=created_after,
        created_before=created_before,
    )
    output.page(found, USAGE, as_json=as_json)


@tenants.command("key")
def create_key(
    api: Api,
    tenant: Tenant,
    name: str,
    scopes: Scopes = None,
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> None:
    """Create a key for a tenant that has lost its own; without --scope it may do all."""
    key = given(name=name, scopes=scopes, expires_in_days=expires_in_days)
    made = api.ask("POST", *TENANTS, api.id_of(*TENANTS, name=tenant), "keys", body=key)
    output.made(made, as_json=as_json)


@app.command("audit")
def list_audit(
    api: Api,
    tenant: Annotated[str | None, typer.Option(help="Its name or id")] = None,
    action: audit.Action = None,
    key_id: audit.KeyUsed = None,
    target_type: audit.TargetType = None,
    target_id: audit.TargetId = None,
    created_after: After = None,
    created_before: Before = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List who changed what, of all tenants, newest first."""
    found = api.page(
        "admin",
        "audit",
        limit=limit,
        everything=everything,
        tenant_id=tenant and api.id_of(*TENANTS, name=tenant),
        action=action,
        key_id=key_id,
        target_type=target_type,
        target_id=target_id,
        created_after=created_after,
        created_before=created_before,
    )
    output.page(found, ("tenant_id", *audit.COLUMNS), as_json=as_json)


app.command("bootstrap")(bootstrap.make_key)
app.add_typer(tenants)
