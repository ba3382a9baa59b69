-- Whether a tenant is deleted and its grace is over, so that its rows may be deleted for good.
create or replace function app.is_purgeable(tenant uuid) returns boolean
    language sql stable as $$
    select exists (
        select from app.tenants t
        where t.id = tenant and t.status = 'deleted' and t.delete_after < now()
    );
$$;

grant execute on function app.is_purgeable(uuid) to map_janitor;
