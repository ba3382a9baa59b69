-- Trigger: adds an audit entry for a changed row, with all its fields where it was created or deleted,
-- else with those that changed, and no entry where none did. Arguments: what the row is, and the
-- column that identifies it.
create or replace function app.add_audit_entry() returns trigger
    language plpgsql set search_path = '' as $$
declare
    kind text := tg_argv[0];
    tenant_column text := case tg_table_name when 'tenants' then 'id' else 'tenant_id' end;
    left_out text[] := array['tenant_id', 'created_at', 'updated_at', 'budgeted_since'];
    old_row jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
    new_row jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    any_row jsonb := coalesce(new_row, old_row);
    old_fields jsonb := old_row - left_out;
    new_fields jsonb := new_row - left_out;
    event text;
begin
    if tg_op = 'UPDATE' then
        select jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, new_fields -> o.key)
        into old_fields, new_fields
        from jsonb_each(old_fields) o
        where new_fields -> o.key is distinct from o.value;
        if new_fields is null then
            return null;
        end if;
    end if;
    event := case
        when tg_op = 'INSERT' then 'created'
        when tg_op = 'DELETE' then 'deleted'
        when kind = 'approval' then new_fields ->> 'decision'
        when kind = 'run' then new_fields ->> 'status'
        when kind = 'key' then case when new_fields ? 'revoked_at' then 'revoked' else 'rotated' end
        when kind = 'tenant' and new_fields ? 'status'
            then case new_fields ->> 'status' when 'active' then 'resumed' else new_fields ->> 'status' end
        else 'updated'
    end;
    insert into app.audit_log (tenant_id, action, target_type, target_id, before, after)
    values (
        (any_row ->> tenant_column)::uuid,
        kind || '.' || event,
        kind,
        (any_row ->> tg_argv[1]) || case kind when 'approval' then '/' || (any_row ->> 'number') else '' end,
        app.redact(old_fields),
        app.redact(new_fields)
    );
    return null;
end
$$;
