-- The new key. Violates api_keys_scopes_within_creator where the caller lacks one of its scopes.
insert into app.api_keys (id, name, digest, pepper_version, prefix, last_four, scopes, expires_at)
values (%(id)s, %(name)s, %(digest)s, %(pepper_version)s, %(prefix)s, %(last_four)s, %(scopes)s,
        now() + make_interval(days => %(expires_in_days)s))
returning id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
