-- The tenant, or no row where none has this id.
select t.id, t.name, t.status, app.limits(to_jsonb(t)) as limits, t.retention_days, t.created_at,
       t.delete_after
from app.tenants t
where t.id = %(id)s
