-- The audit log. Triggers write it in the transaction of the change, so that either both are there or
-- neither. Nobody changes or deletes an entry; a tenant's entries go with the tenant.

-- `created_at` is the time of the change, not of its transaction: of two that change a row one after
-- the other, the second is later in the log. The defaults alone say when it was and who did it.
create table app.audit_log (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default clock_timestamp(),
    actor text not null default case
        when app.is_operator() then 'operator'
        when app.key_id() is not null then 'key'
        else 'platform' end
        constraint audit_log_actor_known check (actor in ('key', 'operator', 'platform')),
    key_id uuid default app.key_id(),
    address text default nullif(current_setting('app.address', true), ''),
    request_id text default nullif(current_setting('app.request_id', true), ''),
    action text not null,
    target_type text not null,
    target_id text not null,
    before jsonb,
    after jsonb,
    primary key (tenant_id, id),
    constraint audit_log_tenant_known foreign key (tenant_id) references app.tenants (id)
);
create index audit_log_by_created_at on app.audit_log (tenant_id, created_at, id);
create index audit_log_of_all_tenants on app.audit_log (created_at, id);

alter table app.audit_log enable row level security;
alter table app.audit_log force row level security;
create policy tenant_isolation on app.audit_log
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());
create policy operator_reads_and_adds on app.audit_log to map_operator
    using (app.is_operator()) with check (app.is_operator());
create policy keyring_adds on app.audit_log to map_keyring using (true) with check (true);
grant select, insert (tenant_id, action, target_type, target_id, before, after)
    on app.audit_log to map_api, map_operator, map_keyring;

-- Only while somebody works for a tenant: what the sweep does for all tenants has no entries.
create trigger audit after insert or update or delete on app.tools
    for each row when (app.tenant_id() is not null) execute function app.add_audit_entry('tool', 'id');
create trigger audit after insert or update or delete on app.agents
    for each row when (app.tenant_id() is not null) execute function app.add_audit_entry('agent', 'id');
create trigger audit after insert or update or delete on app.secrets
    for each row when (app.tenant_id() is not null)
    execute function app.add_audit_entry('secret', 'name');
create trigger audit after insert or update or delete on app.api_keys
    for each row when (app.tenant_id() is not null) execute function app.add_audit_entry('key', 'id');
create trigger audit after insert or update on app.tenants
    for each row when (app.tenant_id() is not null) execute function app.add_audit_entry('tenant', 'id');
create trigger audit after update of status on app.executions
    for each row when (new.status = 'cancelled' and old.status <> 'cancelled' and app.key_id() is not null)
    execute function app.add_audit_entry('run', 'id');
create trigger audit after update of decision on app.execution_steps
    for each row when (new.decision is distinct from old.decision and app.key_id() is not null)
    execute function app.add_audit_entry('approval', 'execution_id');
create trigger audit_added after insert on app.agent_tools referencing new table as changed
    for each statement when (app.tenant_id() is not null)
    execute function app.add_agent_tools_audit_entry();
create trigger audit_removed after delete on app.agent_tools referencing old table as changed
    for each statement when (app.tenant_id() is not null)
    execute function app.add_agent_tools_audit_entry();
