-- The keys without their digests after a position, oldest first, ties by id, ended keys included. A
-- filter or position that is NULL is ignored.
select id, name, prefix, last_four, scopes, created_at, expires_at, revoked_at, last_used_at
from app.api_keys
where (%(name)s::text is null or name = %(name)s)
  and (%(after_time)s::timestamptz is null
       or (created_at, id) > (%(after_time)s, %(after_id)s::uuid))
order by created_at, id
limit %(limit)s offset %(offset)s
