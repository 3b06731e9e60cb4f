-- What reports read. Views run with the reader's own rights.
SET LOCAL search_path = inferq;

-- The answer's text out of a reply of the protocol; NULL when there is none or it cannot be read.
-- A \u0000 in the reply, which Postgres' text cannot hold, shows as U+FFFD.
CREATE FUNCTION reply_text(url text, body bytea) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    reply jsonb;
BEGIN
    IF body IS NULL THEN
        RETURN NULL;
    END IF;
    reply := regexp_replace(convert_from(body, 'UTF8'),
                            '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::jsonb;
    RETURN CASE
        WHEN url LIKE '%/embeddings' THEN reply #>> '{data}'
        WHEN url LIKE '%/chat/completions' THEN reply #>> '{choices,0,message,content}'
        WHEN url LIKE '%/completions' THEN reply #>> '{choices,0,text}'
        ELSE reply::text
    END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;

CREATE VIEW result_text WITH (security_invoker = true) AS
SELECT r.job_id, r.batch_id, r.app, r.task, r.team, r.custom_id, r.generation,
       code_name('status', r.status) AS status, code_name('class', r.class) AS class,
       reply_text(r.url, r.body) AS answer, r.finish_reason,
       code_name('validation', r.validation) AS validation,
       mv.label AS model_version, r.model_reported, r.prompt_version, r.context_version,
       r.input_tokens, r.cached_tokens, r.output_tokens, r.reasoning_tokens,
       r.cost_nusd, r.cost_nusd / 1e9 AS cost_usd, r.created_at, r.finished_at, r.call_number,
       r.queue_us, r.throttle_us, r.model_us, r.store_us
FROM result r LEFT JOIN model_version mv USING (model_version_id);

-- The latest generation of each job: a requeued job stands once, under its last outcome.
CREATE VIEW result_current WITH (security_invoker = true) AS
SELECT DISTINCT ON (batch_id, custom_id) *
FROM result
ORDER BY batch_id, custom_id, generation DESC;

-- Conservation, per batch: accepted = succeeded + dead + cancelled + expired + pending, where
-- accepted is what was put in and what was requeued since. NULL until sealed: accepted, pending.
CREATE VIEW batch_progress WITH (security_invoker = true) AS
SELECT b.batch_id, b.app, b.name, b.task, b.team, b.registered_at, b.sealed_at,
       b.cancel_requested_at, b.total + b.requeued AS accepted,
       coalesce(p.succeeded, 0) AS succeeded, coalesce(p.dead, 0) AS dead,
       coalesce(p.cancelled, 0) AS cancelled, coalesce(p.expired, 0) AS expired,
       b.total + b.requeued - coalesce(p.ended, 0) AS pending,
       p.cost_nusd, coalesce(p.unpriced, 0) AS unpriced, p.last_at, b.requeued
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

-- What every call cost, and whether it gave the result.
CREATE VIEW call_cost WITH (security_invoker = true) AS
SELECT c.job_id, c.number, c.batch_id, b.app, b.task, b.team, b.name AS batch,
       mv.label AS model_version, e.name AS endpoint, code_name('call_kind', c.kind) AS kind,
       code_name('class', c.class) AS class, code_name('certainty', c.certainty) AS certainty,
       c.input_tokens, c.cached_tokens, c.output_tokens, c.reasoning_tokens,
       c.cost_nusd, c.upper_nusd, c.claimed_at, c.done_at, c.http_status,
       r.job_id IS NOT NULL AND r.call_number IS DISTINCT FROM c.number AS wasted
FROM call c
LEFT JOIN batch b USING (batch_id)
LEFT JOIN model_version mv USING (model_version_id)
LEFT JOIN endpoint e ON e.endpoint_id = c.endpoint_id
LEFT JOIN result r ON r.job_id = c.job_id;

CREATE VIEW cost_by_version_day WITH (security_invoker = true) AS
SELECT date_trunc('day', c.claimed_at) AS day, b.app, b.task, b.team, mv.label AS model_version,
       count(*) AS calls, sum(c.input_tokens) AS input_tokens, sum(c.output_tokens) AS output_tokens,
       sum(c.cost_nusd) AS cost_nusd, sum(c.cost_nusd) / 1e9 AS cost_usd,
       count(*) FILTER (WHERE c.done_at IS NOT NULL AND c.cost_nusd IS NULL) AS unpriced_calls
FROM call c
LEFT JOIN batch b USING (batch_id)
LEFT JOIN model_version mv USING (model_version_id)
GROUP BY 1, 2, 3, 4, 5;
