-- Notes that one of these digests' key was sent and refused, in its tenant's log, unless that has 20
-- such entries of this minute; nothing for a key that never was. One row either way.
select true as noted from app.note_refused_key(%(digests)s, %(request_id)s, %(address)s)
