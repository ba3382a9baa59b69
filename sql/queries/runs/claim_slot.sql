-- A row where the tenant may begin one more run in this transaction, which nobody else's can meanwhile;
-- violates `executions_concurrent_runs` where so many are queued or at work.
select true as taken from app.claim_run_slot(%(concurrent_runs)s)
