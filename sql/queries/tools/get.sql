-- The tool, or no row where this tenant has none of this id.
select id, name, description, created_at, updated_at
from app.tools
where id = %(id)s
