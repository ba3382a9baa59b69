-- The tenant, or no row where there is none of this id.
select t.id, t.name, t.status, app.limits_of(t) as limits, t.retention_days, t.created_at,
       t.delete_after
from app.tenants t
where t.id = %(id)s
