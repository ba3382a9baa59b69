-- One row: how many expired runs it ended, and how many old responses it deleted.
select ended, deleted as forgotten from app.expire_runs_and_responses(%(batch)s)
