-- Lanes: each has a topic, PREFIX.jobs.NAME, and the code that the columns `priority` hold. What the
-- fleet must agree on stands here; weights and bounds are each worker's settings, lane.NAME.*.
SET LOCAL search_path = inferq;

CREATE TABLE lane (
    code smallint PRIMARY KEY CHECK (code >= 0),
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    app text CHECK (octet_length(app) BETWEEN 1 AND 128),    -- batches of this app and task go
    task text CHECK (octet_length(task) BETWEEN 1 AND 128),  -- here; NULL: of any; both: of none
    added_at timestamptz NOT NULL DEFAULT now(),
    -- A lane that was removed keeps its row: results of years ago have its code.
    removed_at timestamptz CHECK (removed_at IS NULL OR code > 2)
);
INSERT INTO lane (code, name) VALUES (0, 'high'), (1, 'normal'), (2, 'low');

-- One lane for an app's task.
CREATE UNIQUE INDEX lane_rule ON lane ((coalesce(app, '')), (coalesce(task, '')))
    WHERE removed_at IS NULL AND (app IS NOT NULL OR task IS NOT NULL);

-- The name of a column `priority`.
CREATE FUNCTION lane_name(int) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT l.name FROM inferq.lane l WHERE l.code = $1);

GRANT SELECT ON lane TO inferq_worker, inferq_producer, inferq_operator, inferq_reviewer,
    inferq_reader;
GRANT INSERT, UPDATE ON lane TO inferq_operator;
