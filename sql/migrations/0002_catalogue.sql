-- Tools, agents, which agent uses which tool, and the secrets that tools send. The key of every
-- table is (tenant_id, id) and every reference carries tenant_id, so that no row can name another
-- tenant's.

create table app.tools (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null constraint tools_name_length check (length(name) between 1 and 100),
    description text not null
        constraint tools_description_length check (length(description) between 1 and 1000),
    parameters jsonb,
    endpoint jsonb,
    idempotent boolean not null default false,
    requires_approval boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint tools_tenant_known foreign key (tenant_id) references app.tenants (id),
    constraint tools_name_unique unique (tenant_id, name)
);
create index tools_by_created_at on app.tools (tenant_id, created_at, id);

create table app.agents (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null constraint agents_name_length check (length(name) between 1 and 100),
    role text not null constraint agents_role_length check (length(role) between 1 and 100),
    description text not null
        constraint agents_description_length check (length(description) between 1 and 1000),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint agents_tenant_known foreign key (tenant_id) references app.tenants (id),
    constraint agents_name_unique unique (tenant_id, name)
);
create index agents_by_created_at on app.agents (tenant_id, created_at, id);
create index agents_by_role on app.agents (tenant_id, role, created_at, id);

create table app.agent_tools (
    tenant_id uuid not null default app.tenant_id(),
    agent_id uuid not null,
    tool_id uuid not null,
    primary key (tenant_id, agent_id, tool_id),
    constraint agent_tools_agent_known
        foreign key (tenant_id, agent_id) references app.agents (tenant_id, id) on delete cascade,
    constraint agent_tools_tool_known
        foreign key (tenant_id, tool_id) references app.tools (tenant_id, id)
);
create index agent_tools_by_tool on app.agent_tools (tenant_id, tool_id, agent_id);

-- Encrypted with a key that Postgres does not have.
create table app.secrets (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null constraint secrets_name_length check (length(name) between 1 and 100),
    ciphertext bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint secrets_tenant_known foreign key (tenant_id) references app.tenants (id),
    constraint secrets_name_unique unique (tenant_id, name)
);
create index secrets_by_created_at on app.secrets (tenant_id, created_at, id);

alter table app.tools enable row level security;
alter table app.tools force row level security;
create policy tenant_isolation on app.tools
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

alter table app.agents enable row level security;
alter table app.agents force row level security;
create policy tenant_isolation on app.agents
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

alter table app.agent_tools enable row level security;
alter table app.agent_tools force row level security;
create policy tenant_isolation on app.agent_tools
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

alter table app.secrets enable row level security;
alter table app.secrets force row level security;
create policy tenant_isolation on app.secrets
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

grant select, insert, update, delete on app.tools, app.agents, app.secrets to map_api;
grant select, insert, delete on app.agent_tools to map_api;
