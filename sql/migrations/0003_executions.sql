-- The history. An execution keeps its agent's id and name as they were, with no reference to the
-- agent, so that deleting an agent leaves its history, and a run whose agent went away is still told.

create table app.executions (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    agent_id uuid not null,
    agent_name text not null,
    model text not null,
    prompt text not null,
    response text,
    status text not null
        constraint executions_status_known check (status in ('completed', 'failed')),
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint executions_tenant_known foreign key (tenant_id) references app.tenants (id)
);
create index executions_in_order on app.executions (tenant_id, created_at, id);
create index executions_by_agent on app.executions (tenant_id, agent_id, created_at, id);
create index executions_by_model on app.executions (tenant_id, model, created_at, id);
create index executions_failed on app.executions (tenant_id, created_at, id)
    where status = 'failed';

alter table app.executions enable row level security;
alter table app.executions force row level security;
create policy own_rows on app.executions
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

grant select, insert on app.executions to map_api;
