-- The new key, or no row where no tenant has this id or it is deleted.
insert into app.api_keys (tenant_id, id, name, digest, pepper_version, prefix, last_four, scopes,
                          expires_at)
select t.id, %(id)s, %(key_name)s, %(digest)s, %(pepper_version)s, %(prefix)s, %(last_four)s,
       %(scopes)s, now() + make_interval(days => %(expires_in_days)s)
from app.tenants t
where t.id = %(tenant_id)s and t.status <> 'deleted'
returning id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
