-- The tenants after a position, oldest first, ties by id. A filter or position that is NULL is
-- ignored.
select t.id, t.name, t.status, app.limits(to_jsonb(t)) as limits, t.retention_days, t.created_at,
       t.delete_after
from app.tenants t
where (%(name)s::text is null or t.name = %(name)s)
  and (%(status)s::text is null or t.status = %(status)s)
  and (%(after_time)s::timestamptz is null
       or (t.created_at, t.id) > (%(after_time)s, %(after_id)s::uuid))
order by t.created_at, t.id
limit %(limit)s offset %(offset)s
