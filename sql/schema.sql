-- The schema as it is, written by `make schema`: do not edit. Migrations make the tables
-- (sql/migrations), and sql/functions has the functions' bodies.

grant usage on schema app to map_api, map_authorizer, map_janitor, map_keyring, map_operator,
    map_sweeper;
alter default privileges for role map_janitor, map_keyring, map_owner revoke execute on functions
    from public;

create table app.agent_tools (
    tenant_id uuid not null default app.tenant_id(),
    agent_id uuid not null,
    tool_id uuid not null,
    constraint agent_tools_pkey primary key (tenant_id, agent_id, tool_id),
    constraint agent_tools_agent_known foreign key (tenant_id, agent_id) references
        app.agents(tenant_id, id) on delete cascade,
    constraint agent_tools_tool_known foreign key (tenant_id, tool_id) references app.tools(tenant_id,
        id)
);
create index agent_tools_by_tool on app.agent_tools (tenant_id, tool_id, agent_id);
alter table app.agent_tools enable row level security, force row level security;
create policy tenant_isolation on app.agent_tools using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_purges on app.agent_tools to map_janitor using (app.is_purgeable(tenant_id))
    with check (false);
create trigger audit_added after insert on app.agent_tools referencing new table as changed for each
    statement when ((app.tenant_id() is not null)) execute function
    app.add_agent_tools_audit_entry();
create trigger audit_removed after delete on app.agent_tools referencing old table as changed for
    each statement when ((app.tenant_id() is not null)) execute function
    app.add_agent_tools_audit_entry();
grant delete, insert, select on app.agent_tools to map_api;
grant delete, select on app.agent_tools to map_janitor;

create table app.agents (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null,
    role text not null,
    description text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint agents_pkey primary key (tenant_id, id),
    constraint agents_name_unique unique (tenant_id, name),
    constraint agents_tenant_known foreign key (tenant_id) references app.tenants(id),
    constraint agents_description_length check (((length(description) >= 1) and (length(description) <=
        1000))),
    constraint agents_name_length check (((length(name) >= 1) and (length(name) <= 100))),
    constraint agents_role_length check (((length(role) >= 1) and (length(role) <= 100)))
);
create index agents_by_created_at on app.agents (tenant_id, created_at, id);
create index agents_by_role on app.agents (tenant_id, role, created_at, id);
alter table app.agents enable row level security, force row level security;
create policy tenant_isolation on app.agents using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_purges on app.agents to map_janitor using (app.is_purgeable(tenant_id)) with
    check (false);
create trigger audit after insert or delete or update on app.agents for each row when
    ((app.tenant_id() is not null)) execute function app.add_audit_entry('agent', 'id');
grant delete, insert, select, update on app.agents to map_api;
grant delete, select on app.agents to map_janitor;

create table app.api_keys (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null,
    digest bytea not null,
    pepper_version smallint not null,
    prefix text not null,
    last_four text not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint api_keys_pkey primary key (tenant_id, id),
    constraint api_keys_digest_unique unique (digest, tenant_id),
    constraint api_keys_tenant_known foreign key (tenant_id) references app.tenants(id),
    constraint api_keys_digest_is_sha256 check ((length(digest) = 32)),
    constraint api_keys_operators_of_platform check (((not (scopes @> array['platform:admin'::text])) or
        (tenant_id = '00000000-0000-0000-0000-000000000000'::uuid)))
);
create index api_keys_by_created_at on app.api_keys (tenant_id, created_at, id);
alter table app.api_keys enable row level security, force row level security;
create policy tenant_isolation on app.api_keys using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_purges on app.api_keys to map_janitor using (app.is_purgeable(tenant_id)) with
    check (false);
create policy janitor_reads on app.api_keys for select to map_janitor using (true);
create policy janitor_records on app.api_keys for update to map_janitor using (true) with check
    (true);
create policy keyring_reads on app.api_keys for select to map_keyring using (true);
create policy operator_manages on app.api_keys to map_operator using (app.is_operator()) with check
    (app.is_operator());
create trigger audit after insert or delete or update on app.api_keys for each row when
    ((app.tenant_id() is not null)) execute function app.add_audit_entry('key', 'id');
create trigger scopes_within_creator before insert or update of scopes on app.api_keys for each row
    execute function app.check_key_scopes();
grant delete, select, select (tenant_id, id, last_used_at), update (last_used_at) on app.api_keys to
    map_janitor;
grant insert (id, name, digest, pepper_version, prefix, last_four, scopes, expires_at), select
    (tenant_id, id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at,
    last_used_at), update (expires_at, revoked_at) on app.api_keys to map_api;
grant insert (tenant_id, id, name, digest, pepper_version, prefix, last_four, scopes, expires_at),
    select (tenant_id, id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at,
    last_used_at) on app.api_keys to map_operator;
grant select on app.api_keys to map_keyring;

create table app.audit_log (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default clock_timestamp(),
    actor text not null default case when app.is_operator() then 'operator'::text when (app.key_id() is
        not null) then 'key'::text else 'platform'::text end,
    key_id uuid default app.key_id(),
    address text default nullif(current_setting('app.address'::text, true), ''::text),
    request_id text default nullif(current_setting('app.request_id'::text, true), ''::text),
    action text not null,
    target_type text not null,
    target_id text not null,
    before jsonb,
    after jsonb,
    constraint audit_log_pkey primary key (tenant_id, id),
    constraint audit_log_tenant_known foreign key (tenant_id) references app.tenants(id),
    constraint audit_log_actor_known check ((actor = any (array['key'::text, 'operator'::text,
        'platform'::text])))
);
create index audit_log_by_created_at on app.audit_log (tenant_id, created_at, id);
create index audit_log_of_all_tenants on app.audit_log (created_at, id);
alter table app.audit_log enable row level security, force row level security;
create policy tenant_isolation on app.audit_log using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_adds on app.audit_log for insert to map_janitor with check ((tenant_id =
    '00000000-0000-0000-0000-000000000000'::uuid));
create policy janitor_purges on app.audit_log to map_janitor using (app.is_purgeable(tenant_id))
    with check (false);
create policy keyring_adds on app.audit_log to map_keyring using (true) with check (true);
create policy operator_reads_and_adds on app.audit_log to map_operator using (app.is_operator())
    with check (app.is_operator());
grant delete, insert, select on app.audit_log to map_janitor;
grant insert (tenant_id, action, target_type, target_id, before, after), select on app.audit_log to
    map_api;
grant insert (tenant_id, action, target_type, target_id, before, after), select on app.audit_log to
    map_keyring;
grant insert (tenant_id, action, target_type, target_id, before, after), select on app.audit_log to
    map_operator;

create table app.daily_usage (
    tenant_id uuid not null default app.tenant_id(),
    day date not null,
    model text not null,
    agent_id uuid not null,
    agent_name text not null,
    runs bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cost_usd numeric(18,9) not null,
    constraint daily_usage_pkey primary key (tenant_id, day, model, agent_id),
    constraint daily_usage_tenant_known foreign key (tenant_id) references app.tenants(id)
);
alter table app.daily_usage enable row level security, force row level security;
create policy tenant_isolation on app.daily_usage using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_adds_up on app.daily_usage to map_janitor using (true) with check (true);
create policy operator_reads on app.daily_usage for select to map_operator using (app.is_operator());
grant delete, insert, select, update on app.daily_usage to map_janitor;
grant select on app.daily_usage to map_api;
grant select on app.daily_usage to map_operator;

create table app.execution_steps (
    tenant_id uuid not null default app.tenant_id(),
    execution_id uuid not null,
    number integer not null,
    kind text not null,
    status text not null,
    attempt integer not null,
    tool text,
    arguments jsonb,
    result jsonb,
    response jsonb,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost_usd numeric(18,9) not null default 0,
    reserved_tokens bigint not null default 0,
    reserved_usd numeric(18,9) not null default 0,
    callback text,
    decision text,
    comment text,
    decided_by uuid,
    expires_at timestamptz,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint execution_steps_pkey primary key (tenant_id, execution_id, number),
    constraint execution_steps_execution_known foreign key (tenant_id, execution_id) references
        app.executions(tenant_id, id) on delete cascade,
    constraint execution_steps_decision_known check ((decision = any (array['approve'::text,
        'reject'::text]))),
    constraint execution_steps_kind_known check ((kind = any (array['model'::text, 'tool'::text,
        'approval'::text]))),
    constraint execution_steps_number_positive check ((number > 0)),
    constraint execution_steps_status_known check ((status = any (array['running'::text,
        'waiting'::text, 'completed'::text, 'failed'::text, 'refused'::text])))
);
create index execution_steps_by_finished_at on app.execution_steps (tenant_id, finished_at) include
    (input_tokens, output_tokens, cost_usd) where (kind = 'model'::text);
create index execution_steps_by_started_at on app.execution_steps (tenant_id, started_at) where
    ((kind = 'model'::text) and (status = 'running'::text));
alter table app.execution_steps enable row level security, force row level security;
create policy tenant_isolation on app.execution_steps using ((tenant_id = app.tenant_id())) with
    check ((tenant_id = app.tenant_id()));
create policy janitor_purges on app.execution_steps to map_janitor using
    (app.is_purgeable(tenant_id)) with check (false);
create trigger audit after update of decision on app.execution_steps for each row when
    (((new.decision is distinct from old.decision) and (app.key_id() is not null))) execute function
    app.add_audit_entry('approval', 'execution_id');
grant delete, select on app.execution_steps to map_janitor;
grant insert, select, update on app.execution_steps to map_api;

create table app.executions (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    agent_id uuid not null,
    agent_name text not null,
    model text not null,
    prompt text not null,
    response text,
    status text not null,
    stop_reason text,
    warning text,
    background boolean not null default false,
    definition jsonb,
    limits jsonb,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost_usd numeric(18,9) not null default 0,
    steps integer not null default 0,
    attempt integer not null default 0,
    crashes integer not null default 0,
    lease_owner text,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    waiting_since timestamptz,
    deadline timestamptz,
    expires_at timestamptz,
    finished_at timestamptz,
    constraint executions_pkey primary key (tenant_id, id),
    constraint executions_tenant_known foreign key (tenant_id) references app.tenants(id),
    constraint executions_status_known check ((status = any (array['queued'::text, 'running'::text,
        'waiting_approval'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
);
create index executions_by_agent on app.executions (tenant_id, agent_id, created_at, id);
create index executions_by_created_at on app.executions (tenant_id, created_at, id);
create index executions_by_expires_at on app.executions (expires_at) where (status = any
    (array['queued'::text, 'running'::text, 'waiting_approval'::text]));
create index executions_by_model on app.executions (tenant_id, model, created_at, id);
create index executions_by_status on app.executions (tenant_id, status, created_at, id) where
    (status <> 'completed'::text);
alter table app.executions enable row level security, force row level security;
create policy tenant_isolation on app.executions using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_ends on app.executions to map_janitor using (true) with check (true);
create policy operator_reads on app.executions for select to map_operator using (app.is_operator());
create trigger audit after update of status on app.executions for each row when (((new.status =
    'cancelled'::text) and (old.status <> 'cancelled'::text) and (app.key_id() is not null)))
    execute function app.add_audit_entry('run', 'id');
grant delete, select, update on app.executions to map_janitor;
grant insert, select, update on app.executions to map_api;
grant select (tenant_id, agent_id, agent_name, model, status, input_tokens, output_tokens, cost_usd,
    created_at) on app.executions to map_operator;

create table app.functions (
    name text not null,
    checksum bytea not null,
    applied_at timestamptz not null default now(),
    constraint functions_pkey primary key (name)
);

create table app.idempotency_keys (
    tenant_id uuid not null default app.tenant_id(),
    route text not null,
    key text not null,
    fingerprint bytea not null,
    execution_id uuid,
    status smallint,
    headers jsonb,
    body text,
    created_at timestamptz not null default now(),
    constraint idempotency_keys_pkey primary key (tenant_id, route, key),
    constraint idempotency_keys_tenant_known foreign key (tenant_id) references app.tenants(id)
);
create index idempotency_keys_by_created_at on app.idempotency_keys (created_at);
alter table app.idempotency_keys enable row level security, force row level security;
create policy tenant_isolation on app.idempotency_keys using ((tenant_id = app.tenant_id())) with
    check ((tenant_id = app.tenant_id()));
create policy janitor_deletes on app.idempotency_keys to map_janitor using (true);
grant delete, select, update on app.idempotency_keys to map_janitor;
grant insert, select, update on app.idempotency_keys to map_api;
grant insert, select, update on app.idempotency_keys to map_operator;

create table app.migrations (
    version text not null,
    checksum bytea not null,
    applied_at timestamptz not null default now(),
    constraint migrations_pkey primary key (version)
);

create table app.secrets (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null,
    ciphertext bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint secrets_pkey primary key (tenant_id, id),
    constraint secrets_name_unique unique (tenant_id, name),
    constraint secrets_tenant_known foreign key (tenant_id) references app.tenants(id),
    constraint secrets_name_length check (((length(name) >= 1) and (length(name) <= 100)))
);
create index secrets_by_created_at on app.secrets (tenant_id, created_at, id);
alter table app.secrets enable row level security, force row level security;
create policy tenant_isolation on app.secrets using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_purges on app.secrets to map_janitor using (app.is_purgeable(tenant_id)) with
    check (false);
create trigger audit after insert or delete or update on app.secrets for each row when
    ((app.tenant_id() is not null)) execute function app.add_audit_entry('secret', 'name');
grant delete, insert, select, update on app.secrets to map_api;
grant delete, select on app.secrets to map_janitor;

create table app.tenants (
    id uuid not null default gen_random_uuid(),
    name text not null,
    status text not null default 'active'::text,
    requests_per_minute integer not null default 100,
    runs_per_minute integer,
    concurrent_runs integer,
    tokens_per_day bigint,
    spend_per_month_usd numeric(18,6),
    budgeted_since timestamptz,
    retention_days integer,
    created_at timestamptz not null default now(),
    delete_after timestamptz,
    constraint tenants_pkey primary key (id),
    constraint tenants_concurrent_positive check ((concurrent_runs > 0)),
    constraint tenants_deleted_has_date check (((status = 'deleted'::text) = (delete_after is not
        null))),
    constraint tenants_platform_is_active check (((id <> '00000000-0000-0000-0000-000000000000'::uuid)
        or (status = 'active'::text))),
    constraint tenants_requests_positive check ((requests_per_minute > 0)),
    constraint tenants_retention_positive check ((retention_days > 0)),
    constraint tenants_runs_positive check ((runs_per_minute > 0)),
    constraint tenants_spend_not_negative check ((spend_per_month_usd >= (0)::numeric)),
    constraint tenants_status_known check ((status = any (array['active'::text, 'suspended'::text,
        'deleted'::text]))),
    constraint tenants_tokens_not_negative check ((tokens_per_day >= 0))
);
create index tenants_by_created_at on app.tenants (created_at, id);
alter table app.tenants enable row level security, force row level security;
create policy tenant_isolation on app.tenants using ((id = app.tenant_id())) with check ((id =
    app.tenant_id()));
create policy janitor_locks on app.tenants for update to map_janitor using (app.is_purgeable(id))
    with check (false);
create policy janitor_purges on app.tenants for delete to map_janitor using (app.is_purgeable(id));
create policy janitor_reads on app.tenants for select to map_janitor using (true);
create policy keyring_reads on app.tenants for select to map_keyring using (true);
create policy operator_manages on app.tenants to map_operator using (app.is_operator()) with check
    (app.is_operator());
create trigger audit after insert or update on app.tenants for each row when ((app.tenant_id() is
    not null)) execute function app.add_audit_entry('tenant', 'id');
create trigger budgeted_since before insert or update on app.tenants for each row execute function
    app.set_budgeted_since();
grant delete, select, update (delete_after) on app.tenants to map_janitor;
grant insert, select, update (name, status, requests_per_minute, runs_per_minute, concurrent_runs,
    tokens_per_day, spend_per_month_usd, retention_days, delete_after) on app.tenants to
    map_operator;
grant select (id, runs_per_minute, concurrent_runs, tokens_per_day, spend_per_month_usd,
    budgeted_since) on app.tenants to map_api;
grant select on app.tenants to map_keyring;

create table app.tools (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null,
    description text not null,
    parameters jsonb,
    endpoint jsonb,
    idempotent boolean not null default false,
    requires_approval boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tools_pkey primary key (tenant_id, id),
    constraint tools_name_unique unique (tenant_id, name),
    constraint tools_tenant_known foreign key (tenant_id) references app.tenants(id),
    constraint tools_description_length check (((length(description) >= 1) and (length(description) <=
        1000))),
    constraint tools_name_length check (((length(name) >= 1) and (length(name) <= 100)))
);
create index tools_by_created_at on app.tools (tenant_id, created_at, id);
alter table app.tools enable row level security, force row level security;
create policy tenant_isolation on app.tools using ((tenant_id = app.tenant_id())) with check
    ((tenant_id = app.tenant_id()));
create policy janitor_purges on app.tools to map_janitor using (app.is_purgeable(tenant_id)) with
    check (false);
create trigger audit after insert or delete or update on app.tools for each row when
    ((app.tenant_id() is not null)) execute function app.add_audit_entry('tool', 'id');
grant delete, insert, select, update on app.tools to map_api;
grant delete, select on app.tools to map_janitor;

create function app.add_agent_tools_audit_entry() returns trigger language plpgsql set
    search_path="";
alter function app.add_agent_tools_audit_entry owner to map_owner;

create function app.add_audit_entry() returns trigger language plpgsql set search_path="";
alter function app.add_audit_entry owner to map_owner;

create function app.authenticate(digests bytea[]) returns table(tenant_id uuid, key_id uuid, scopes
    text[], requests_per_minute integer) language plpgsql stable security definer set search_path="";
alter function app.authenticate owner to map_keyring;
grant execute on function app.authenticate to map_authorizer;

create function app.check_key_scopes() returns trigger language plpgsql set search_path="";
alter function app.check_key_scopes owner to map_owner;

create function app.claim_run_slot(max_runs integer) returns void language plpgsql set
    search_path="";
alter function app.claim_run_slot owner to map_owner;
grant execute on function app.claim_run_slot to map_api;

create function app.create_run(tenant uuid, key uuid, request text, address text, run uuid, agent
    uuid, model text, prompt text, limits jsonb, is_queued boolean, lease integer, may_create
    boolean, own_key text, checked jsonb, checked_warning text, reserved_tokens bigint, reserved_usd
    numeric) returns table(is_created boolean, definition jsonb, warning text, runs_per_minute
    integer, concurrent_runs integer, tokens_per_day bigint, spend_per_month_usd numeric,
    budgeted_since timestamptz, now timestamptz, lease_until timestamptz) language plpgsql set
    search_path="";
alter function app.create_run owner to map_owner;
grant execute on function app.create_run to map_api;

create function app.delete_old_runs(batch integer) returns bigint language sql security definer set
    enable_bitmapscan=off set enable_seqscan=off set search_path="";
alter function app.delete_old_runs owner to map_janitor;
grant execute on function app.delete_old_runs to map_sweeper;

create function app.end_run(tenant uuid, run uuid, attempt integer, status text, stop_reason text,
    response text, number integer, step_status text, step_result jsonb, step_response jsonb,
    input_tokens bigint, output_tokens bigint, cost_usd numeric) returns table(warning text,
    input_tokens_used bigint, output_tokens_used bigint, cost numeric, steps integer, created_at
    timestamptz, started_at timestamptz, finished_at timestamptz) language plpgsql set
    search_path="";
alter function app.end_run owner to map_owner;
grant execute on function app.end_run to map_api;

create function app.enter_operator(tenant uuid, key uuid, request text, address text) returns void
    language plpgsql security definer set search_path="";
alter function app.enter_operator owner to map_owner;
grant execute on function app.enter_operator to map_operator;

create function app.enter_run(tenant uuid, execution uuid) returns void language plpgsql security
    definer set search_path="";
alter function app.enter_run owner to map_owner;
grant execute on function app.enter_run to map_api;

create function app.enter_tenant(tenant uuid, key uuid, request text default null::text, address
    text default null::text) returns void language plpgsql security definer set search_path="";
alter function app.enter_tenant owner to map_owner;
grant execute on function app.enter_tenant to map_api, map_operator;

create function app.expire_runs_and_responses(batch integer) returns table(ended bigint, deleted
    bigint) language sql security definer set search_path="";
alter function app.expire_runs_and_responses owner to map_janitor;
grant execute on function app.expire_runs_and_responses to map_sweeper;

create function app.is_operator() returns boolean language sql stable parallel safe;
alter function app.is_operator owner to map_owner;
grant execute on function app.is_operator to map_api, map_janitor, map_keyring, map_operator;

create function app.is_purgeable(tenant uuid) returns boolean language sql stable;
alter function app.is_purgeable owner to map_owner;
grant execute on function app.is_purgeable to map_janitor;

create function app.key_id() returns uuid language sql stable parallel safe;
alter function app.key_id owner to map_owner;
grant execute on function app.key_id to map_api, map_janitor, map_keyring, map_operator;

create function app.limits(tenant jsonb) returns jsonb language sql immutable parallel safe;
alter function app.limits owner to map_owner;
grant execute on function app.limits to map_operator;

create function app.log_refusal(tenant uuid, action text, target_type text, target_id text, details
    jsonb) returns void language plpgsql set search_path="";
alter function app.log_refusal owner to map_owner;
grant execute on function app.log_refusal to map_api, map_keyring, map_operator;

create function app.log_refused_key(digests bytea[], request text, address text) returns void
    language plpgsql security definer set search_path="";
alter function app.log_refused_key owner to map_keyring;
grant execute on function app.log_refused_key to map_authorizer;

create function app.purge_tenant(batch integer) returns bigint language plpgsql security definer set
    enable_bitmapscan=off set enable_seqscan=off set search_path="";
alter function app.purge_tenant owner to map_janitor;
grant execute on function app.purge_tenant to map_sweeper;

create function app.record_key_use(tenants uuid[], keys uuid[], times timestamptz[]) returns bigint
    language sql security definer set search_path="";
alter function app.record_key_use owner to map_janitor;
grant execute on function app.record_key_use to map_sweeper;

create function app.redact(fields jsonb) returns jsonb language sql immutable parallel safe;
alter function app.redact owner to map_owner;
grant execute on function app.redact to map_api, map_operator;

create function app.set_budgeted_since() returns trigger language plpgsql set search_path="";
alter function app.set_budgeted_since owner to map_owner;

create function app.tenant_id() returns uuid language sql stable parallel safe;
alter function app.tenant_id owner to map_owner;
grant execute on function app.tenant_id to map_api, map_janitor, map_keyring, map_operator;
