-- A row where the tenant may begin one more run in this transaction, which nobody else's can meanwhile;
-- violates `executions_have_room` where `most` are queued or at work.
select true as made from app.make_room(%(most)s)
