-- The tool, or no row where this tenant has none of this id.
select id, name, description, parameters, endpoint, idempotent, requires_approval, created_at,
       updated_at
from app.tools
where id = %(id)s
