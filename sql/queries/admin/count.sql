-- How many tenants admin/list returns from its first page to its last.
select count(*) as total
from app.tenants t
where (%(name)s::text is null or t.name = %(name)s)
  and (%(status)s::text is null or t.status = %(status)s)
