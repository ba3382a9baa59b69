-- The tenant, with this status from now on; no row where none has this id, or where it is deleted
-- and not restored within its grace. The platform's own tenant violates tenants_platform_is_active.
update app.tenants t
set status = %(status)s,
    delete_after = now() + make_interval(days => %(grace_days)s::integer)
where t.id = %(id)s
  and (t.status <> 'deleted' or (%(status)s = 'active' and t.delete_after > now()))
returning t.id, t.name, t.status, app.limits(to_jsonb(t)) as limits, t.retention_days, t.created_at,
          t.delete_after
