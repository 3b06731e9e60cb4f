-- What workers count for those who watch the fleet: letters that nobody has reviewed, and batches
-- past their deadline. Partial indexes, so that counting reads what is counted and no more.
SET LOCAL search_path = inferq;

CREATE INDEX dead_letter_open ON dead_letter (dead_id) WHERE state = 1;
CREATE INDEX batch_deadline ON batch (deadline_at) WHERE deadline_at IS NOT NULL;
