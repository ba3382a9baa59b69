-- The new key with the name and scopes of old_id, which ends after the overlap or at its own end,
-- whichever is first. No row and no effect where this tenant has no such key or it has ended.
-- Violates api_keys_scopes_within_creator where the caller lacks a scope. The overlap starts after
-- the transaction's now(), so that a key that replaces itself without overlap still ends this
-- transaction.
with old as (
    update app.api_keys
    set expires_at = least(
        expires_at, clock_timestamp() + make_interval(secs => %(overlap_seconds)s)
    )
    where id = %(old_id)s and revoked_at is null and (expires_at is null or expires_at > now())
    returning name, scopes
)
insert into app.api_keys (id, name, digest, pepper_version, prefix, last_four, scopes, expires_at)
select %(id)s, old.name, %(digest)s, %(pepper_version)s, %(prefix)s, %(last_four)s, old.scopes,
       now() + make_interval(days => %(expires_in_days)s)
from old
returning id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
