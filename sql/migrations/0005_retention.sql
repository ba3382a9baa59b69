-- What ends by itself: runs that nobody works on, old responses, runs past their retention, and
-- tenants past their grace. map_janitor cannot log in: it exists to own the functions of
-- sql/functions/retention, which work across tenants, and may do what they do.

-- What deleted runs used, by day (UTC).
create table app.daily_usage (
    tenant_id uuid not null default app.tenant_id(),
    day date not null,
    model text not null,
    agent_id uuid not null,
    agent_name text not null,
    runs bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cost_usd numeric(18, 9) not null,
    primary key (tenant_id, day, model, agent_id),
    constraint daily_usage_tenant_known foreign key (tenant_id) references app.tenants (id)
);
alter table app.daily_usage enable row level security;
alter table app.daily_usage force row level security;
create policy tenant_isolation on app.daily_usage
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());
create policy operator_reads on app.daily_usage for select to map_operator
    using (app.is_operator());
grant select on app.daily_usage to map_api, map_operator;

-- expire_runs_and_responses(): ends runs and deletes old responses. `for update` needs the right to update.
grant select, update on app.executions to map_janitor;
create policy janitor_ends on app.executions to map_janitor using (true) with check (true);
grant select, update, delete on app.idempotency_keys to map_janitor;
create policy janitor_deletes on app.idempotency_keys to map_janitor using (true);

-- delete_old_runs(): keeps what the runs used.
grant select on app.tenants to map_janitor;
create policy janitor_reads on app.tenants for select to map_janitor using (true);
grant delete on app.executions to map_janitor;
grant select, insert, update on app.daily_usage to map_janitor;
create policy janitor_adds_up on app.daily_usage to map_janitor using (true) with check (true);

-- record_key_use(): notes when keys were used.
grant select (tenant_id, id, last_used_at), update (last_used_at) on app.api_keys to map_janitor;
create policy janitor_reads on app.api_keys for select to map_janitor using (true);
create policy janitor_records on app.api_keys for update to map_janitor using (true) with check (true);

-- purge_tenant(): deletes all rows of a tenant whose grace is over, and notes it in the platform's log.
do $$
declare
    name text;
begin
    foreach name in array array['execution_steps', 'secrets', 'agent_tools', 'agents', 'tools',
                                'audit_log', 'api_keys'] loop
        execute format('grant select, delete on app.%I to map_janitor', name);
        execute format('create policy janitor_purges on app.%I to map_janitor'
                       ' using (app.is_purgeable(tenant_id)) with check (false)', name);
    end loop;
end
$$;
grant delete on app.daily_usage to map_janitor;
grant delete, update (delete_after) on app.tenants to map_janitor; -- `for update` needs the latter
create policy janitor_purges on app.tenants for delete to map_janitor using (app.is_purgeable(id));
create policy janitor_locks on app.tenants for update to map_janitor
    using (app.is_purgeable(id)) with check (false);
grant insert on app.audit_log to map_janitor;
create policy janitor_adds on app.audit_log for insert to map_janitor
    with check (tenant_id = '00000000-0000-0000-0000-000000000000');
