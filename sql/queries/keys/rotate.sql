-- The new key with the name and the scopes of old_id, which ends after the overlap, if not sooner by
-- itself; no row and no effect where this tenant has no such key, or it has ended. Refused by
-- api_keys_no_greater_than_maker where a scope is not the caller's own. The overlap begins after the
-- transaction's own now(): a key that replaces itself without any still ends this transaction.
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
