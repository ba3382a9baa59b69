-- The entries before a position, newest first, ties by id. A filter or position that is NULL is
-- ignored. Only operators see who an operator is, and others cannot find it by a filter. A position
-- lies before created_before and replaces it, as in executions/list.
select l.tenant_id, l.id, l.created_at, l.actor,
       case when l.actor <> 'operator' or app.is_operator() then l.key_id end as key_id,
       case when l.actor <> 'operator' or app.is_operator() then l.address end as address,
       case when l.actor <> 'operator' or app.is_operator() then l.request_id end as request_id,
       l.action, l.target_type, l.target_id, l.before, l.after
from app.audit_log l
where (%(tenant_id)s::uuid is null or l.tenant_id = %(tenant_id)s)
  and (%(action)s::text is null or l.action = %(action)s)
  and (%(key_id)s::uuid is null
       or l.key_id = %(key_id)s and (l.actor <> 'operator' or app.is_operator()))
  and (%(target_type)s::text is null or l.target_type = %(target_type)s)
  and (%(target_id)s::text is null or l.target_id = %(target_id)s)
  and (%(created_after)s::timestamptz is null or l.created_at > %(created_after)s)
  and (%(created_before)s::timestamptz is null or %(after_time)s::timestamptz is not null
       or l.created_at < %(created_before)s)
  and (%(after_time)s::timestamptz is null
       or (l.created_at, l.id) < (%(after_time)s, %(after_id)s::uuid))
order by l.created_at desc, l.id desc
limit %(limit)s offset %(offset)s
