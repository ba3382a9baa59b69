-- Those of these secrets that the tenant has, sealed.
select name, sealed
from app.secrets
where name = any (%(names)s::text[])
