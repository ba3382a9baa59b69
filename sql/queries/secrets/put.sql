-- The secret with its new value, created where this tenant has none of this name.
insert into app.secrets (name, ciphertext)
values (%(name)s, %(ciphertext)s)
on conflict (tenant_id, name) do update
set ciphertext = excluded.ciphertext, updated_at = now()
returning id, name, created_at, updated_at
