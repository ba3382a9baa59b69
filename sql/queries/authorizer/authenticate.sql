-- One row if one of the digests is that of an active key of an active tenant, otherwise none.
select tenant_id, key_id, scopes, requests_per_minute from app.authenticate(%(digests)s)
