-- The changed tool, or no row where this tenant has none of this id. A field that is NULL stays as
-- it is; parameters and endpoint change where new_parameters and new_endpoint say so.
update app.tools
set name = coalesce(%(name)s, name),
    description = coalesce(%(description)s, description),
    parameters = case when %(new_parameters)s then %(parameters)s else parameters end,
    endpoint = case when %(new_endpoint)s then %(endpoint)s else endpoint end,
    idempotent = coalesce(%(idempotent)s, idempotent),
    requires_approval = coalesce(%(requires_approval)s, requires_approval),
    updated_at = now()
where id = %(id)s
returning id, name, description, parameters, endpoint, idempotent, requires_approval, created_at,
          updated_at
