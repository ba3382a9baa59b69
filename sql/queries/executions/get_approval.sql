-- The approval step, or no row where the run has no approval of this number.
select decision, callback
from app.execution_steps
where execution_id = %(id)s and number = %(step)s and kind = 'approval'
