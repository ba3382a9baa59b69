-- Secrets after a position, oldest first, ties by id; a NULL position counts as none. No value.
select id, name, created_at, updated_at
from app.secrets
where %(after_time)s::timestamptz is null
   or (created_at, id) > (%(after_time)s, %(after_id)s::uuid)
order by created_at, id
limit %(limit)s offset %(offset)s
