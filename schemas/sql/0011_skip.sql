-- Jobs that an operator leaves out: `inferq skip`. Workers read the table every few seconds, and end
-- such a job before its next call: dead, of class skipped, with its letter.
SET LOCAL search_path = inferq;

INSERT INTO code (kind, code, name) VALUES ('class', 26, 'skipped');

CREATE TABLE job_skip (
    job_id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX job_skip_at ON job_skip (at);

GRANT SELECT ON job_skip TO inferq_worker, inferq_operator, inferq_reader, inferq_reviewer;
GRANT INSERT ON job_skip TO inferq_operator;
