-- One row: how many expired runs it ended, and how many old responses it deleted.
select ended as expired_runs, deleted as deleted_responses
from app.expire_runs_and_responses(%(batch)s)
