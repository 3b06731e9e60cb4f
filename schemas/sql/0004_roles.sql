-- Roles, each with no more than it needs. They hold rights; people and programs are granted them.
SET LOCAL search_path = inferq;

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['inferq_worker', 'inferq_producer', 'inferq_operator',
                                'inferq_reviewer', 'inferq_reader'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;          -- roles belong to the cluster: another database made it, perhaps just now
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA inferq TO %I', role);
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION ensure_partitions(), attach_partition(text, text, bigint, bigint) FROM PUBLIC;

GRANT SELECT ON ALL TABLES IN SCHEMA inferq
    TO inferq_worker, inferq_operator, inferq_reader;
REVOKE SELECT ON parked, dead_letter FROM inferq_reader;   -- payloads as submitted

-- Workers never delete results or calls.
GRANT INSERT ON batch, result, progress, dead_letter, endpoint, model, model_version, price,
    model_default, audit_log TO inferq_worker;
GRANT INSERT, UPDATE ON call, worker TO inferq_worker;
GRANT INSERT, UPDATE, DELETE ON parked TO inferq_worker;
GRANT DELETE ON progress TO inferq_worker;                 -- the roll-up
GRANT UPDATE (published_at) ON dead_letter TO inferq_worker;
GRANT UPDATE (current_version_id) ON model TO inferq_worker;
GRANT UPDATE (state) ON model_version TO inferq_worker;
GRANT UPDATE (model) ON model_default TO inferq_worker;
GRANT DELETE ON model_default TO inferq_worker;
GRANT EXECUTE ON FUNCTION ensure_partitions() TO inferq_worker, inferq_operator;

GRANT SELECT, INSERT ON batch, prompt_version TO inferq_producer;
GRANT UPDATE (total, sealed_at, input_sha256, deadline_at) ON batch TO inferq_producer;
GRANT SELECT ON result, progress, batch_progress, code, endpoint, model, model_version, price,
    model_default, partition_span TO inferq_producer;

GRANT INSERT, UPDATE ON batch TO inferq_operator;
GRANT UPDATE (next_at, wait_key) ON parked TO inferq_operator;
GRANT INSERT ON audit_log TO inferq_operator;

GRANT SELECT ON batch, result, call, worker, parked, dead_letter, review_event, code, endpoint,
    model, model_version, price, prompt_version, result_text, result_current, batch_progress,
    progress, partition_span TO inferq_reviewer;
GRANT UPDATE (state) ON dead_letter TO inferq_reviewer;
GRANT UPDATE (requeued) ON batch TO inferq_reviewer;       -- a requeue is one more accepted job
GRANT INSERT ON parked, review_event TO inferq_reviewer;
