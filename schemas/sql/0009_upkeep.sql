-- What `inferq upkeep` keeps in mind from day to day.
SET LOCAL search_path = inferq;

INSERT INTO setting VALUES
    ('retention_days', 0, 'results and calls of jobs older than this leave with their partition; '
                          '0: they stay for good'),
    ('kafka_keep_days', 7, 'records whose jobs are settled stay in Kafka for so long; at least the '
                           'interval between two backups of this database'),
    ('calls_swept_ms', 0, 'of the calls claimed before this (Unix ms) none is open; kept by '
                          '`inferq upkeep`');

-- Spans on their way out: closed, so that workers refuse their jobs, and not yet dropped.
CREATE TABLE partition_leaving (
    suffix text PRIMARY KEY,
    lower_ms bigint NOT NULL,
    upper_ms bigint NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON partition_leaving TO inferq_worker, inferq_operator, inferq_reader, inferq_reviewer;
