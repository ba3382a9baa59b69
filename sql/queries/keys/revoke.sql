-- The key, useless from now on, or no row where this tenant has none of this id. A key that was
-- revoked before keeps its time.
update app.api_keys
set revoked_at = coalesce(revoked_at, now())
where id = %(id)s
returning id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
