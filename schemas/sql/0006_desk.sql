-- What people decide: at the review desk about dead letters, in operation about workers and
-- endpoints. Rows of `result` stay as they are: dead is terminal, whatever a person makes of it.
SET LOCAL search_path = inferq;

-- ---- the review desk --------------------------------------------------------------------------

-- Insert-only: a reviewer takes this as the answer of a job that died.
CREATE TABLE accepted (
    job_id uuid PRIMARY KEY,
    dead_id bigint NOT NULL UNIQUE,
    batch_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    answer text                             -- NULL: the model's own, which stands in `result`
);
CREATE INDEX accepted_batch ON accepted (batch_id);

-- Insert-only: the body with which a dead job runs again after a person changed it. A table of its
-- own, because those who read what was done may not read what was submitted.
CREATE TABLE edited (
    new_job_id uuid PRIMARY KEY,
    dead_id bigint NOT NULL UNIQUE,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    body bytea COMPRESSION lz4 NOT NULL
);

-- New, at the end: `outcome`, which is the status, or `accepted` where a reviewer took a dead job's
-- answer; `answer` is then what was taken.
CREATE OR REPLACE VIEW result_text WITH (security_invoker = true) AS
SELECT r.job_id, r.batch_id, r.app, r.task, r.team, r.custom_id, r.generation,
       code_name('status', r.status) AS status, code_name('class', r.class) AS class,
       coalesce(a.answer, reply_text(r.url, r.body)) AS answer, r.finish_reason,
       code_name('validation', r.validation) AS validation,
       mv.label AS model_version, r.model_reported, r.prompt_version, r.context_version,
       r.input_tokens, r.cached_tokens, r.output_tokens, r.reasoning_tokens,
       r.cost_nusd, r.cost_nusd / 1e9 AS cost_usd, r.created_at, r.finished_at, r.call_number,
       r.queue_us, r.throttle_us, r.model_us, r.store_us,
       CASE WHEN a.job_id IS NULL THEN code_name('status', r.status) ELSE 'accepted' END AS outcome
FROM result r
LEFT JOIN model_version mv USING (model_version_id)
LEFT JOIN accepted a ON a.job_id = r.job_id;

-- New, at the end: how many of the dead a reviewer accepted.
CREATE OR REPLACE VIEW batch_progress WITH (security_invoker = true) AS
SELECT b.batch_id, b.app, b.name, b.task, b.team, b.registered_at, b.sealed_at,
       b.cancel_requested_at, b.total + b.requeued AS accepted,
       coalesce(p.succeeded, 0) AS succeeded, coalesce(p.dead, 0) AS dead,
       coalesce(p.cancelled, 0) AS cancelled, coalesce(p.expired, 0) AS expired,
       b.total + b.requeued - coalesce(p.ended, 0) AS pending,
       p.cost_nusd, coalesce(p.unpriced, 0) AS unpriced, p.last_at, b.requeued,
       (SELECT count(*) FROM accepted a WHERE a.batch_id = b.batch_id) AS dead_accepted
FROM batch b
LEFT JOIN LATERAL (
    SELECT sum(n) FILTER (WHERE status = 1)::bigint AS succeeded,
           sum(n) FILTER (WHERE status = 2)::bigint AS dead,
           sum(n) FILTER (WHERE status = 3)::bigint AS cancelled,
           sum(n) FILTER (WHERE status = 4)::bigint AS expired,
           sum(n)::bigint AS ended,
           sum(g.cost_nusd)::bigint AS cost_nusd,
           sum(n) FILTER (WHERE g.cost_nusd IS NULL)::bigint AS unpriced,
           max(at) AS last_at
    FROM progress g WHERE g.batch_id = b.batch_id) p ON true;

GRANT SELECT, INSERT ON accepted, edited TO inferq_reviewer;
GRANT SELECT ON accepted TO inferq_operator, inferq_reader;
GRANT SELECT ON edited TO inferq_operator;
GRANT SELECT (batch_id) ON accepted TO inferq_producer;    -- batch_progress counts them

-- ---- operation --------------------------------------------------------------------------------

-- Asked to take no more jobs and to leave; its next heartbeat hears of it.
ALTER TABLE worker ADD COLUMN drain_requested_at timestamptz;

-- Endpoints that get no calls until they are resumed.
CREATE TABLE endpoint_pause (
    name text NOT NULL,
    version int NOT NULL DEFAULT 0 CHECK (version >= 0),    -- 0: all versions, later ones too
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (name, version)
);

GRANT UPDATE (drain_requested_at) ON worker TO inferq_operator;
GRANT SELECT ON endpoint_pause TO inferq_worker, inferq_operator, inferq_reader, inferq_reviewer;
GRANT INSERT, DELETE ON endpoint_pause TO inferq_operator;
