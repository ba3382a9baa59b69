-- How many entries audit/list returns from its first page to its last.
select count(*) as total
from app.audit_log l
where (%(tenant_id)s::uuid is null or l.tenant_id = %(tenant_id)s)
  and (%(action)s::text is null or l.action = %(action)s)
  and (%(key_id)s::uuid is null
       or l.key_id = %(key_id)s and (l.actor <> 'operator' or app.is_operator()))
  and (%(target_type)s::text is null or l.target_type = %(target_type)s)
  and (%(target_id)s::text is null or l.target_id = %(target_id)s)
  and (%(created_after)s::timestamptz is null or l.created_at > %(created_after)s)
  and (%(created_before)s::timestamptz is null or l.created_at < %(created_before)s)
