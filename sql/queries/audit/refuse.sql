-- Notes that the entered tenant was refused something, unless it has 20 such entries of this minute;
-- one row either way.
select true as noted
from app.note_refusal(%(tenant_id)s, 'access.refused', 'route', %(route)s, %(asked)s)
