-- What a job waited for, limit by limit, where it was for several: {"LIMIT_ID": MICROSECONDS, ...} as
-- JSON, of what `limit_us` is the sum. NULL: all of `limit_us` was for `limit_id`, which is the one
-- that it waited for longest. (Up to now: the last one.)
SET LOCAL search_path = inferq;

ALTER TABLE result ADD COLUMN limit_waits text;
ALTER TABLE parked ADD COLUMN limit_waits text;
