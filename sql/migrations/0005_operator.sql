-- The operator's side: limits of tenants, keys that tenants make, the audit log, budgets, retention,
-- and tenants that go.

-- ── Tenants and their limits ────────────────────────────────────────────────────────────────────
-- A limit that is NULL is none. A deleted tenant goes, with all its rows, after `delete_after`.
alter table app.tenants
    drop constraint tenants_status_known,
    add constraint tenants_status_known check (status in ('active', 'suspended', 'deleted')),
    add column runs_per_minute integer
        constraint tenants_runs_positive check (runs_per_minute > 0),
    add column concurrent_runs integer
        constraint tenants_concurrent_positive check (concurrent_runs > 0),
    add column tokens_per_day bigint
        constraint tenants_tokens_not_negative check (tokens_per_day >= 0),
    add column spend_per_month_usd numeric(18, 6)
        constraint tenants_spend_not_negative check (spend_per_month_usd >= 0),
    add column budgeted_since timestamptz,
    add column retention_days integer
        constraint tenants_retention_positive check (retention_days > 0),
    add column delete_after timestamptz,
    add constraint tenants_deleted_have_a_time check ((status = 'deleted') = (delete_after is not null)),
    add constraint tenants_platform_stays
        check (id <> '00000000-0000-0000-0000-000000000000' or status = 'active');
create index tenants_in_order on app.tenants (created_at, id);

-- The platform itself, as the tenant of its operators' keys.
select set_config('app.tenant_id', '00000000-0000-0000-0000-000000000000', true);
insert into app.tenants (id, name) values (app.tenant_id(), 'Platform');
select set_config('app.tenant_id', '', true);

grant usage on schema app to map_operator;
grant execute on function app.tenant_id() to map_operator, map_janitor;
grant select (id, runs_per_minute, concurrent_runs, tokens_per_day, spend_per_month_usd, budgeted_since)
    on app.tenants to map_api;

-- ── Who is at work ──────────────────────────────────────────────────────────────────────────────
create function app.key_id() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.key_id', true), '')::uuid;
-- Not `= 'yes'`: the planner takes that to be true of one row in 200, and sorts what it could read in
-- order.
create function app.is_operator() returns boolean
    language sql stable parallel safe
    return coalesce(current_setting('app.operator', true), '') <> '';
grant execute on function app.key_id(), app.is_operator()
    to map_api, map_operator, map_keyring, map_janitor;

-- As before, and notes for the audit log which key it is.
create or replace function app.enter_tenant(tenant uuid, key uuid) returns void
    language plpgsql security definer set search_path = '' as $$
begin
    perform set_config('app.tenant_id', tenant::text, true), set_config('app.key_id', key::text, true);
    if not exists (
        select
        from app.api_keys k
        join app.tenants t on t.id = k.tenant_id
        where k.tenant_id = tenant
          and k.id = key
          and k.revoked_at is null
          and (k.expires_at is null or k.expires_at > now())
          and t.status = 'active'
    ) then
        raise exception 'this key is not an active key of this tenant' using errcode = 'MAP01';
    end if;
end
$$;

-- Notes besides which request it is, and from where.
create function app.enter_tenant(tenant uuid, key uuid, request text, address text) returns void
    language plpgsql security definer set search_path = '' as $$
begin
    perform app.enter_tenant(tenant, key),
            set_config('app.request_id', request, true),
            set_config('app.address', address, true);
end
$$;
grant execute on function app.enter_tenant(uuid, uuid, text, text) to map_api, map_operator;

-- The rest of this transaction may work on every tenant, as far as map_operator's rights go. Raises
-- MAP01 if the key is not an active operator's.
create function app.enter_operator(tenant uuid, key uuid, request text, address text) returns void
    language plpgsql security definer set search_path = '' as $$
begin
    perform app.enter_tenant(tenant, key, request, address);
    if not exists (
        select
        from app.api_keys k
        where k.tenant_id = tenant and k.id = key and k.scopes @> array['platform:admin']
    ) then
        raise exception 'this key is not an operator''s' using errcode = 'MAP01';
    end if;
    perform set_config('app.operator', 'yes', true);
end
$$;
grant execute on function app.enter_operator(uuid, uuid, text, text) to map_operator;

-- An operator sees what tenants are, use and did, and makes keys; never a prompt, an answer, a
-- secret or a digest.
grant select, insert on app.tenants to map_operator;
grant update (name, status, requests_per_minute, runs_per_minute, concurrent_runs, tokens_per_day,
              spend_per_month_usd, retention_days, delete_after) on app.tenants to map_operator;
create policy operator_manages on app.tenants to map_operator
    using (app.is_operator()) with check (app.is_operator());
create function app.limits_of(tenant app.tenants) returns jsonb
    language sql stable
    return jsonb_build_object(
        'requests_per_minute', tenant.requests_per_minute,
        'runs_per_minute', tenant.runs_per_minute,
        'concurrent_runs', tenant.concurrent_runs,
        'tokens_per_day', tenant.tokens_per_day,
        'spend_per_month_usd', tenant.spend_per_month_usd
    );
grant execute on function app.limits_of(app.tenants) to map_operator;
grant select (tenant_id, agent_id, agent_name, model, status, input_tokens, output_tokens, cost_usd,
              created_at) on app.executions to map_operator;
create policy operator_counts on app.executions for select to map_operator
    using (app.is_operator());
-- What a repeated request of the operator's gets again; rows of the platform's own tenant.
grant select, insert, update on app.idempotency_keys to map_operator;

-- ── Keys ────────────────────────────────────────────────────────────────────────────────────────
alter table app.api_keys
    add constraint api_keys_operators_are_the_platforms check (
        not scopes @> array['platform:admin'] or tenant_id = '00000000-0000-0000-0000-000000000000'
    );
create index api_keys_in_order on app.api_keys (tenant_id, created_at, id);
grant select (tenant_id, id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at,
              last_used_at) on app.api_keys to map_api, map_operator;
grant insert (id, name, digest, pepper_version, prefix, last_four, scopes, expires_at)
    on app.api_keys to map_api;
grant insert (id, tenant_id, name, digest, pepper_version, prefix, last_four, scopes, expires_at)
    on app.api_keys to map_operator;
grant update (expires_at, revoked_at) on app.api_keys to map_api;
create policy operator_makes on app.api_keys to map_operator
    using (app.is_operator()) with check (app.is_operator());

-- A key grants no more than the key that makes it.
create function app.check_new_key() returns trigger language plpgsql set search_path = '' as $$
begin
    if current_user = 'map_api' and not new.scopes <@ coalesce(
        (select k.scopes from app.api_keys k where k.tenant_id = new.tenant_id and k.id = app.key_id()),
        '{}'
    ) then
        raise exception 'a key grants no more than the key that makes it'
            using errcode = 'check_violation', constraint = 'api_keys_no_greater_than_maker';
    end if;
    return new;
end
$$;
create trigger no_greater_than_maker before insert or update of scopes on app.api_keys
    for each row execute function app.check_new_key();

-- ── The audit log ───────────────────────────────────────────────────────────────────────────────
-- Written by triggers, in the transaction of the change: either both are there, or neither. Nobody
-- changes or deletes an entry; a tenant's go with the tenant. The time is the change's, not its
-- transaction's: who waits for a row and changes it later is later in the log.
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
create index audit_log_in_order on app.audit_log (tenant_id, created_at, id);
create index audit_log_of_all on app.audit_log (created_at, id);
alter table app.audit_log enable row level security;
alter table app.audit_log force row level security;
create policy own_rows on app.audit_log
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());
create policy operator_reads_and_adds on app.audit_log to map_operator
    using (app.is_operator()) with check (app.is_operator());
-- When it was and who did it, the defaults alone say.
grant select, insert (tenant_id, action, target_type, target_id, before, after)
    on app.audit_log to map_api, map_operator;

-- A row's fields without what must not be told: digests, sealed values, headers of tools' endpoints.
create function app.masked(fields jsonb) returns jsonb
    language sql immutable parallel safe
    return (
        select jsonb_object_agg(
            f.key,
            case
                when f.value = 'null' then f.value
                when f.key in ('digest', 'sealed') then '"***"'
                when f.key = 'endpoint' and jsonb_typeof(f.value -> 'headers') = 'object' then jsonb_set(
                    f.value, '{headers}',
                    coalesce(
                        (select jsonb_object_agg(h, '***') from jsonb_object_keys(f.value -> 'headers') h),
                        '{}'
                    )
                )
                else f.value
            end
        )
        from jsonb_each(fields) f
    );
grant execute on function app.masked(jsonb) to map_api, map_operator;

-- Writes an entry for a row: all its fields where it came or went, else those that changed, and none
-- where nothing did. Arguments: what the row is, and the field that names it.
create function app.audit() returns trigger language plpgsql set search_path = '' as $$
declare
    kind text := tg_argv[0];
    of_tenant text := case tg_table_name when 'tenants' then 'id' else 'tenant_id' end;
    untold text[] := array['tenant_id', 'created_at', 'updated_at', 'budgeted_since'];
    old_row jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
    new_row jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    any_row jsonb := coalesce(new_row, old_row);
    old_fields jsonb := old_row - untold;
    new_fields jsonb := new_row - untold;
    done text;
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
    done := case
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
        (any_row ->> of_tenant)::uuid,
        kind || '.' || done,
        kind,
        (any_row ->> tg_argv[1]) || case kind when 'approval' then '/' || (any_row ->> 'number') else '' end,
        app.masked(old_fields),
        app.masked(new_fields)
    );
    return null;
end
$$;

-- Only while somebody is at work for a tenant: what the sweep does for all has no entries.
create trigger audit after insert or update or delete on app.tools
    for each row when (app.tenant_id() is not null) execute function app.audit('tool', 'id');
create trigger audit after insert or update or delete on app.agents
    for each row when (app.tenant_id() is not null) execute function app.audit('agent', 'id');
create trigger audit after insert or update or delete on app.secrets
    for each row when (app.tenant_id() is not null) execute function app.audit('secret', 'name');
create trigger audit after insert or update or delete on app.api_keys
    for each row when (app.tenant_id() is not null) execute function app.audit('key', 'id');
create trigger audit after insert or update on app.tenants
    for each row when (app.tenant_id() is not null) execute function app.audit('tenant', 'id');
create trigger audit after update of status on app.executions
    for each row when (new.status = 'cancelled' and old.status <> 'cancelled' and app.key_id() is not null)
    execute function app.audit('run', 'id');
create trigger audit after update of decision on app.execution_steps
    for each row when (new.decision is distinct from old.decision and app.key_id() is not null)
    execute function app.audit('approval', 'execution_id');

-- One entry for all tools that an agent got or lost at once.
create function app.audit_agent_tools() returns trigger language plpgsql set search_path = '' as $$
begin
    insert into app.audit_log (tenant_id, action, target_type, target_id, before, after)
    select c.tenant_id,
           case tg_op when 'INSERT' then 'agent.tools_added' else 'agent.tools_removed' end,
           'agent',
           c.agent_id::text,
           case tg_op when 'DELETE' then jsonb_build_object('tool_ids', jsonb_agg(c.tool_id order by c.tool_id)) end,
           case tg_op when 'INSERT' then jsonb_build_object('tool_ids', jsonb_agg(c.tool_id order by c.tool_id)) end
    from changed c
    group by c.tenant_id, c.agent_id;
    return null;
end
$$;
create trigger audit_added after insert on app.agent_tools referencing new table as changed
    for each statement when (app.tenant_id() is not null) execute function app.audit_agent_tools();
create trigger audit_removed after delete on app.agent_tools referencing old table as changed
    for each statement when (app.tenant_id() is not null) execute function app.audit_agent_tools();

-- What was refused, at most 20 entries a tenant and minute: whoever tries in a loop fills no disk.
create function app.note_refusal(tenant uuid, what text, kind text, named text, details jsonb)
    returns void language plpgsql set search_path = '' as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('refusals ' || tenant::text, 0));
    if (
        select count(*)
        from app.audit_log l
        where l.tenant_id = tenant
          and l.created_at > now() - interval '1 minute'
          and l.action in ('access.refused', 'key.refused')
    ) < 20 then
        insert into app.audit_log (tenant_id, action, target_type, target_id, after)
        values (tenant, what, kind, named, details);
    end if;
end
$$;
grant execute on function app.note_refusal(uuid, text, text, text, jsonb)
    to map_api, map_operator, map_keyring;

-- For the authorizer: somebody sent a key of a tenant that is not, or no longer, good for anything.
-- Does nothing for a key that never was.
grant select, insert (tenant_id, action, target_type, target_id, before, after)
    on app.audit_log to map_keyring;
create policy keyring_notes on app.audit_log to map_keyring using (true) with check (true);
create function app.note_refused_key(digests bytea[], request text, address text) returns void
    language plpgsql security definer set search_path = '' as $$
begin
    perform set_config('app.request_id', request, true), set_config('app.address', address, true);
    perform app.note_refusal(
        k.tenant_id, 'key.refused', 'key', k.id::text,
        jsonb_build_object('reason', case
            when k.revoked_at is not null then 'revoked'
            when k.expires_at <= now() then 'expired'
            else 'tenant ' || t.status end)
    )
    from app.api_keys k
    join app.tenants t on t.id = k.tenant_id
    where k.digest = any (digests)
      and (k.revoked_at is not null or k.expires_at <= now() or t.status <> 'active');
end
$$;
grant execute on function app.note_refused_key(bytea[], text, text) to map_authorizer;

-- ── Budgets ─────────────────────────────────────────────────────────────────────────────────────
-- What a model call may use at most, from before it goes out until it is finished. Redis counts; this
-- is what it counts anew from.
alter table app.execution_steps
    add column reserved_tokens bigint not null default 0,
    add column reserved_usd numeric(18, 9) not null default 0;
create index execution_steps_by_end on app.execution_steps (tenant_id, finished_at)
    include (input_tokens, output_tokens, cost_usd) where kind = 'model';
create index execution_steps_under_way on app.execution_steps (tenant_id, started_at)
    where kind = 'model' and status = 'running';

-- Since when a tenant has had a budget without a break: books that Redis has kept from before know
-- nothing of what was used in the break.
create function app.note_budget() returns trigger language plpgsql set search_path = '' as $$
begin
    if num_nonnulls(new.tokens_per_day, new.spend_per_month_usd) = 0 then
        new.budgeted_since := null;
    elsif new.budgeted_since is null then
        new.budgeted_since := now();
    end if;
    return new;
end
$$;
create trigger budgeted before insert or update on app.tenants
    for each row execute function app.note_budget();

-- ── Runs at once ────────────────────────────────────────────────────────────────────────────────
-- Returns where the entered tenant has less than `most` runs queued or at work, and lets nobody else
-- of the tenant through until the transaction, which may then begin one, is over.
create function app.make_room(most integer) returns void language plpgsql set search_path = '' as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('runs ' || app.tenant_id()::text, 0));
    if (
        select count(*)
        from app.executions e
        where e.tenant_id = app.tenant_id() and e.status in ('queued', 'running')
    ) >= most then
        raise exception 'as many runs as the tenant may have at once are at work'
            using errcode = 'check_violation', constraint = 'executions_have_room';
    end if;
end
$$;
grant execute on function app.make_room(integer) to map_api;

-- ── What stays of runs that are deleted ─────────────────────────────────────────────────────────
create table app.usage_kept (
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
    constraint usage_kept_tenant_known foreign key (tenant_id) references app.tenants (id)
);
alter table app.usage_kept enable row level security;
alter table app.usage_kept force row level security;
create policy own_rows on app.usage_kept
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());
create policy operator_counts on app.usage_kept for select to map_operator
    using (app.is_operator());
grant select on app.usage_kept to map_api, map_operator;

-- ── What the sweep does, besides ────────────────────────────────────────────────────────────────
grant select on app.tenants to map_janitor;
create policy janitor_reads on app.tenants for select to map_janitor using (true);

-- Deletes up to `batch` runs that their tenants keep no longer, and keeps what they used; returns how
-- many it deleted. Along an index, here and in purge(): any other scan would read all rows of a tenant
-- for each batch, which Postgres takes for cheap where it has not counted them yet.
grant delete on app.executions to map_janitor;
grant select, insert, update on app.usage_kept to map_janitor;
create policy janitor_keeps on app.usage_kept to map_janitor using (true) with check (true);
create function app.retire(batch integer) returns bigint
    language sql security definer set search_path = ''
    set enable_seqscan = off set enable_bitmapscan = off
    begin atomic
        with due as (
            select e.tenant_id, e.id
            from app.tenants t,
            lateral (
                select e.tenant_id, e.id
                from app.executions e
                where e.tenant_id = t.id
                  and e.created_at < now() - make_interval(days => t.retention_days)
                  and e.status in ('completed', 'failed', 'cancelled')
                order by e.created_at
                limit batch
                for update skip locked
            ) e
            where t.retention_days is not null
            limit batch
        ),
        gone as (
            delete from app.executions e
            using due d
            where (e.tenant_id, e.id) = (d.tenant_id, d.id)
            returning e.*
        ),
        kept as (
            insert into app.usage_kept as k (
                tenant_id, day, model, agent_id, agent_name, runs, input_tokens, output_tokens, cost_usd
            )
            select g.tenant_id, date(g.created_at at time zone 'UTC'), g.model, g.agent_id,
                   (array_agg(g.agent_name order by g.created_at desc))[1], count(*),
                   sum(g.input_tokens), sum(g.output_tokens), sum(g.cost_usd)
            from gone g
            group by 1, 2, 3, 4
            order by 1, 2, 3, 4 -- two at once wait for each other, not in a circle
            on conflict (tenant_id, day, model, agent_id) do update
            set agent_name = excluded.agent_name,
                runs = k.runs + excluded.runs,
                input_tokens = k.input_tokens + excluded.input_tokens,
                output_tokens = k.output_tokens + excluded.output_tokens,
                cost_usd = k.cost_usd + excluded.cost_usd
        )
        select count(*) from gone;
    end;

-- Deletes up to `batch` rows of a tenant whose grace is over, and last the tenant; returns how many
-- rows went, 0 where no tenant is left to go. Whoever would bring the tenant back waits meanwhile. The
-- platform's own log keeps that it happened, and nothing of the tenant but its id.
create function app.is_gone(tenant uuid) returns boolean
    language sql stable
    return exists (
        select from app.tenants t
        where t.id = tenant and t.status = 'deleted' and t.delete_after < now()
    );
do $$
declare
    part text;
begin
    foreach part in array array['execution_steps', 'secrets', 'agent_tools', 'agents', 'tools',
                                'audit_log', 'api_keys'] loop
        execute format('grant select, delete on app.%I to map_janitor', part);
        execute format('create policy janitor_purges on app.%I to map_janitor'
                       ' using (app.is_gone(tenant_id)) with check (false)', part);
    end loop;
end
$$;
grant delete on app.usage_kept to map_janitor;
grant delete, update (delete_after) on app.tenants to map_janitor; -- for update needs it
create policy janitor_purges on app.tenants for delete to map_janitor using (app.is_gone(id));
create policy janitor_holds on app.tenants for update to map_janitor
    using (app.is_gone(id)) with check (false);
grant insert on app.audit_log to map_janitor;
create policy janitor_notes on app.audit_log for insert to map_janitor
    with check (tenant_id = '00000000-0000-0000-0000-000000000000');
create function app.purge(batch integer) returns bigint
    language plpgsql security definer set search_path = ''
    set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    tenant uuid;
    part text;
    went bigint := 0;
    more bigint;
begin
    select t.id into tenant
    from app.tenants t
    where t.status = 'deleted' and t.delete_after < now()
    order by t.delete_after
    limit 1
    for update skip locked;
    if tenant is null then
        return 0;
    end if;
    foreach part in array array['execution_steps', 'executions', 'idempotency_keys', 'secrets',
                                'agent_tools', 'agents', 'tools', 'usage_kept', 'api_keys',
                                'audit_log'] loop -- last: who sends a key of the tenant adds to it
        execute format('delete from app.%1$I where ctid = any (array('
                       'select ctid from app.%1$I where tenant_id = $1 limit $2))', part)
            using tenant, batch - went;
        get diagnostics more = row_count;
        went := went + more;
        if went >= batch then
            return went;
        end if;
    end loop;
    delete from app.tenants t where t.id = tenant;
    insert into app.audit_log (tenant_id, action, target_type, target_id)
    values ('00000000-0000-0000-0000-000000000000', 'tenant.purged', 'tenant', tenant::text);
    return went + 1;
end
$$;

-- Notes when keys were used, forwards only; `keys` of `tenants`, element by element.
grant select (tenant_id, id, last_used_at), update (last_used_at) on app.api_keys to map_janitor;
create policy janitor_notes on app.api_keys for update to map_janitor using (true) with check (true);
create policy janitor_reads on app.api_keys for select to map_janitor using (true);
create function app.note_use(tenants uuid[], keys uuid[], times timestamptz[]) returns bigint
    language sql security definer set search_path = ''
    begin atomic
        with newer as (
            select k.tenant_id, k.id, u.used_at
            from unnest(tenants, keys, times) as u (tenant_id, id, used_at)
            join app.api_keys k on (k.tenant_id, k.id) = (u.tenant_id, u.id)
            where k.last_used_at is null or k.last_used_at < u.used_at
            order by k.tenant_id, k.id -- two at once wait for each other, not in a circle
            for no key update of k
        ),
        noted as (
            update app.api_keys k
            set last_used_at = n.used_at
            from newer n
            where (k.tenant_id, k.id) = (n.tenant_id, n.id)
            returning k.id
        )
        select count(*) from noted;
    end;

grant execute on function app.retire(integer), app.purge(integer),
    app.note_use(uuid[], uuid[], timestamptz[]) to map_sweeper;
grant execute on function app.is_gone(uuid) to map_janitor;

reset role;
grant create on schema app to map_keyring, map_janitor;
alter function app.note_refused_key(bytea[], text, text) owner to map_keyring;
alter function app.retire(integer) owner to map_janitor;
alter function app.purge(integer) owner to map_janitor;
alter function app.note_use(uuid[], uuid[], timestamptz[]) owner to map_janitor;
revoke create on schema app from map_keyring, map_janitor;
set local role map_owner;
