-- One row: how many runs it ended, and how many stored answers it forgot.
select ended, forgotten from app.sweep(%(batch)s)
