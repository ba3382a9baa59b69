-- Records when keys were last used, each element of `keys` with those of `tenants` and `times` at its
-- place. No time goes backwards. Returns how many keys have a later time now.
set local role map_janitor;
create or replace function app.record_key_use(tenants uuid[], keys uuid[], times timestamptz[])
    returns bigint language sql security definer set search_path = '' as $$
    with newer as (
        select k.tenant_id, k.id, u.used_at
        from unnest(tenants, keys, times) as u (tenant_id, id, used_at)
        join app.api_keys k on (k.tenant_id, k.id) = (u.tenant_id, u.id)
        where k.last_used_at is null or k.last_used_at < u.used_at
        order by k.tenant_id, k.id -- so that two at once cannot deadlock
        for no key update of k
    ),
    recorded as (
        update app.api_keys k
        set last_used_at = n.used_at
        from newer n
        where (k.tenant_id, k.id) = (n.tenant_id, n.id)
        returning k.id
    )
    select count(*) from recorded;
$$;

grant execute on function app.record_key_use(uuid[], uuid[], timestamptz[]) to map_sweeper;
