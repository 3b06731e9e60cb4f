-- Fair pulls: which app a parked job is of, so that a pull takes of each app's rows, however many
-- another has. '': a worker parked it that does not say; such rows count as one app's.
SET LOCAL search_path = inferq;

ALTER TABLE parked ADD COLUMN app text COLLATE "C" NOT NULL DEFAULT '';

-- `parked_waiting` stays beside it: in that order rows are counted and woken, and pulled by workers
-- of earlier builds. The condition says what that one's says, in words of which the planner cannot
-- know it: else it may well read `parked_waiting` for one app's rows, through a million of another's.
CREATE INDEX parked_apps ON parked (wait_key, priority, app, next_at)
    WHERE coalesce(taken_by, 0) = 0;
