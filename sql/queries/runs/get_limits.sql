-- One row: the limits that the tenant has for runs now, NULL for none, and the database's time.
select runs_per_minute, concurrent_runs, tokens_per_day, spend_per_month_usd, budgeted_since,
       now() as now
from app.tenants
where id = app.tenant_id()
