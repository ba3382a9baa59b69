-- The tenant with this status; no row where there is none of this id, or it is deleted and not just
-- brought back within its grace. Refused by tenants_platform_stays for the platform's own.
update app.tenants t
set status = %(status)s,
    delete_after = now() + make_interval(days => %(grace_days)s::integer)
where t.id = %(id)s
  and (t.status <> 'deleted' or (%(status)s = 'active' and t.delete_after > now()))
returning t.id, t.name, t.status, app.limits_of(t) as limits, t.retention_days, t.created_at,
          t.delete_after
