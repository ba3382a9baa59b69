-- What a key has stored. One row, behind idempotency/claim; a run has no status, only an execution.
select fingerprint, execution_id, status, headers, body
from app.idempotency_keys
where route = %(route)s and key = %(key)s
