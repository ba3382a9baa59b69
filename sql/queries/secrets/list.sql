-- The secrets without their values after a position, oldest first, ties by id. A position that is
-- NULL is ignored.
select id, name, created_at, updated_at
from app.secrets
where %(after_time)s::timestamptz is null
   or (created_at, id) > (%(after_time)s, %(after_id)s::uuid)
order by created_at, id
limit %(limit)s offset %(offset)s
