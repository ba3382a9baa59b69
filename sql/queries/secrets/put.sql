-- The secret with its new value; one that the tenant has of this name keeps its age.
insert into app.secrets (name, sealed)
values (%(name)s, %(sealed)s)
on conflict (tenant_id, name) do update
set sealed = excluded.sealed, updated_at = now()
returning id, name, created_at, updated_at
