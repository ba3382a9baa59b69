-- One row if one of these digests is an active key's of an active tenant; otherwise none.
select tenant_id, key_id, scopes, requests_per_minute from app.authenticate(%(digests)s)
