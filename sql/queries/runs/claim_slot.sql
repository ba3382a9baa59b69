-- A row where the tenant may begin one more run in this transaction, which nobody else's can meanwhile;
-- violates `executions_have_room` where so many are queued or at work.
select true as taken from app.make_room(%(concurrent_runs)s)
