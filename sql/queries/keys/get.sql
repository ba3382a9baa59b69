-- The key without its digest, or no row where this tenant has none of this id.
select id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
from app.api_keys
where id = %(id)s
