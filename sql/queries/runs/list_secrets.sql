-- Those of the named secrets that the tenant has, still encrypted.
select name, ciphertext
from app.secrets
where name = any (%(names)s::text[])
