-- One row. Adds an audit entry for a refused key to its tenant's log, unless that has 20 of the
-- last minute; none for a key that never existed.
select true as noted from app.log_refused_key(%(digests)s, %(request_id)s, %(address)s)
