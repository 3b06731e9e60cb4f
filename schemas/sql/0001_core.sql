-- The hot tables of the claim and store protocol, and what stands around them.
-- Applied once, in one transaction, by `inferq migrate`, as the owner of schema inferq.

CREATE SCHEMA IF NOT EXISTS inferq;
SET LOCAL search_path = inferq;

-- What the small integers mean; filled here, held against common/codes.h by a test.
CREATE TABLE code (
    kind text NOT NULL,
    code smallint NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (kind, code),
    UNIQUE (kind, name)
);
INSERT INTO code (kind, code, name) VALUES
    ('status', 1, 'succeeded'), ('status', 2, 'dead'), ('status', 3, 'cancelled'),
    ('status', 4, 'expired'),
    ('class', 1, 'ok'),
    ('class', 10, 'malformed'), ('class', 11, 'invalid_job'), ('class', 12, 'forged_id'),
    ('class', 13, 'bad_signature'), ('class', 14, 'no_model'), ('class', 15, 'expired'),
    ('class', 16, 'cancelled'), ('class', 17, 'attempts_spent'), ('class', 18, 'over_cost'),
    ('class', 19, 'unstorable'), ('class', 20, 'model_not_live'),
    ('class', 30, 'unsent'), ('class', 31, 'tls_config'), ('class', 32, 'ambiguous'),
    ('class', 33, 'invalid'), ('class', 34, 'context_too_long'), ('class', 35, 'credential'),
    ('class', 36, 'no_upstream_model'), ('class', 37, 'billing'), ('class', 38, 'conflict'),
    ('class', 39, 'throttled'), ('class', 40, 'server_error'), ('class', 41, 'overloaded'),
    ('class', 42, 'refused'), ('class', 43, 'bad_output'), ('class', 44, 'bad_reply'),
    ('class', 45, 'unknown_status'), ('class', 46, 'lost'), ('class', 47, 'aborted'),
    ('call_kind', 1, 'primary'), ('call_kind', 2, 'retry'), ('call_kind', 3, 'fallback'),
    ('call_kind', 4, 'reask'), ('call_kind', 5, 'shadow'), ('call_kind', 6, 'replay'),
    ('call_kind', 7, 'eval'),
    ('certainty', 0, 'none'), ('certainty', 1, 'exact'), ('certainty', 2, 'estimated'),
    ('certainty', 3, 'unknown'),
    ('validation', 0, 'none'), ('validation', 1, 'passed'), ('validation', 2, 'reasked'),
    ('validation', 3, 'failed'),
    ('dead_state', 1, 'open'), ('dead_state', 2, 'claimed'), ('dead_state', 3, 'requeued'),
    ('dead_state', 4, 'edited'), ('dead_state', 5, 'accepted'), ('dead_state', 6, 'discarded'),
    ('priority', 0, 'high'), ('priority', 1, 'normal'), ('priority', 2, 'low');

CREATE FUNCTION code_name(text, int) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (SELECT c.name FROM inferq.code c WHERE c.kind = $1 AND c.code = $2);

-- ---- batches ----------------------------------------------------------------------------------

CREATE TABLE batch (
    batch_id uuid PRIMARY KEY,
    app text NOT NULL,
    name text NOT NULL,                     -- the idempotency key, unique per app
    task text,
    team text,
    priority smallint,
    created_ms bigint NOT NULL,             -- the first six bytes of every id in it
    deadline_at timestamptz,
    total bigint CHECK (total >= 0),        -- jobs put in; NULL until sealed
    requeued bigint NOT NULL DEFAULT 0 CHECK (requeued >= 0),  -- generations added, sealed or not
    input_sha256 bytea,                     -- of what was submitted, in order
    registered_at timestamptz NOT NULL DEFAULT now(),
    sealed_at timestamptz,
    cancel_requested_at timestamptz,
    UNIQUE (app, name)
);
CREATE INDEX batch_cancelled ON batch (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL;

-- Insert-only, written by the very statement that inserts results; rolled up now and then.
CREATE TABLE progress (
    batch_id uuid NOT NULL,
    status smallint NOT NULL,
    model_version_id int,
    n bigint NOT NULL,
    cost_nusd bigint,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX progress_batch ON progress (batch_id);

-- ---- results and calls, partitioned by the time-ordered id ------------------------------------

CREATE TABLE result (
    job_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL,
    cost_nusd bigint,                       -- over all calls; NULL: a call's cost is not known
    queue_us bigint,                        -- from creation to the first dispatch
    throttle_us bigint,                     -- waiting for limits, back-off, parked
    model_us bigint,                        -- in calls
    store_us bigint,                        -- from the outcome to the flush that stored it
    input_tokens int,
    cached_tokens int,
    output_tokens int,
    reasoning_tokens int,
    model_version_id int,
    generation int NOT NULL,
    status smallint NOT NULL,
    class smallint NOT NULL,
    call_number smallint,                   -- the call that gave it; NULL: decided without a call
    http_status smallint,
    validation smallint NOT NULL,
    priority smallint NOT NULL,
    app text NOT NULL,
    task text,
    team text,
    custom_id text NOT NULL,
    url text NOT NULL,
    finish_reason text,
    model_reported text,
    prompt_version text,
    context_version text,
    trace_id text,
    body bytea COMPRESSION lz4,             -- the model's whole reply
    PRIMARY KEY (job_id)
) PARTITION BY RANGE (job_id);
CREATE INDEX result_finished ON result USING brin (finished_at);

CREATE TABLE call (
    job_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    worker_id bigint NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    estimated_nusd bigint,                  -- what it may cost if its outcome stays unknown
    upper_nusd bigint,                      -- what it can cost at most
    model_version_id int NOT NULL,
    endpoint_id int NOT NULL,
    price_id int,
    number smallint NOT NULL,
    kind smallint NOT NULL,
    -- NULL until the outcome
    done_at timestamptz,
    cost_nusd bigint,
    model_us bigint,
    input_tokens int,
    cached_tokens int,
    output_tokens int,
    reasoning_tokens int,
    class smallint,
    certainty smallint,
    curl_code smallint,
    http_status smallint,
    provider_request_id text,
    model_reported text,
    error text,                             -- first 2 KB of an error answer, scrubbed
    PRIMARY KEY (job_id, number)
) PARTITION BY RANGE (job_id);
CREATE INDEX call_claimed ON call USING brin (claimed_at);

-- ---- workers, parked jobs, dead letters -------------------------------------------------------

CREATE TABLE worker (
    worker_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- new at every start
    host text NOT NULL,
    pid int NOT NULL,
    build text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL,
    stopped_at timestamptz,
    fenced boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE INDEX worker_alive ON worker (worker_id) WHERE NOT fenced;

CREATE TABLE parked (
    job_id uuid PRIMARY KEY,
    batch_id uuid NOT NULL,
    next_at timestamptz NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    deadline_at timestamptz,
    taken_by bigint,                        -- worker_id; NULL: waits
    wait_key int NOT NULL,                  -- endpoint_id it waits for; 0: only for next_at
    priority smallint NOT NULL,
    number smallint NOT NULL,               -- of its next call
    attempts smallint NOT NULL,             -- calls so far that count against max_attempts
    reasks smallint NOT NULL,
    spent_nusd bigint,                      -- by its calls so far; NULL: not known
    waited_us bigint NOT NULL,              -- throttle time so far
    model_us bigint NOT NULL,               -- call time so far
    reason smallint NOT NULL,               -- class of what it waits for; 0: live elsewhere
    topic text,
    partition int,
    record_offset bigint,
    record_at timestamptz,
    payload bytea COMPRESSION lz4 NOT NULL,
    headers bytea
);
CREATE INDEX parked_waiting ON parked (wait_key, priority, next_at) WHERE taken_by IS NULL;
CREATE INDEX parked_taken ON parked (taken_by) WHERE taken_by IS NOT NULL;
CREATE INDEX parked_deadline ON parked (deadline_at)
    WHERE taken_by IS NULL AND deadline_at IS NOT NULL;

CREATE TABLE dead_letter (
    dead_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source bytea NOT NULL UNIQUE,           -- hash of cluster, topic, partition, offset, timestamp
    job_id uuid,                            -- NULL: the record had no job
    batch_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,               -- on the dead topic
    record_at timestamptz,
    record_offset bigint,
    partition int,
    generation int,
    class smallint NOT NULL,
    state smallint NOT NULL DEFAULT 1,
    attempts smallint NOT NULL DEFAULT 0,
    topic text,
    app text,
    task text,
    team text,
    custom_id text,
    model_version text,
    reason text NOT NULL,
    payload bytea COMPRESSION lz4 NOT NULL,
    headers bytea
);
CREATE INDEX dead_letter_unpublished ON dead_letter (dead_id) WHERE published_at IS NULL;
CREATE INDEX dead_letter_batch ON dead_letter (batch_id);
CREATE INDEX dead_letter_job ON dead_letter (job_id) WHERE job_id IS NOT NULL;

CREATE TABLE review_event (                 -- append-only
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    dead_id bigint NOT NULL,
    job_id uuid,
    new_job_id uuid,
    detail text NOT NULL DEFAULT ''
);
CREATE INDEX review_event_dead ON review_event (dead_id);

-- ---- partitions -------------------------------------------------------------------------------

CREATE TABLE partition_span (               -- the spans alive, the same for result and call
    lower_ms bigint PRIMARY KEY,
    upper_ms bigint NOT NULL,
    suffix text NOT NULL UNIQUE
);
CREATE TABLE setting (
    name text PRIMARY KEY,
    value bigint NOT NULL,
    help text NOT NULL
);
INSERT INTO setting VALUES
    ('partition_days', 7, 'width of a partition of result and call; read when one is made'),
    ('partitions_ahead', 2, 'how many partitions stand ready after the one of today'),
    ('partitions_behind', 1, 'how many are made before the one of today when there are none yet');

CREATE FUNCTION uuid_floor(ms bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (lpad(to_hex($1), 12, '0') || '00000000000000000000')::uuid;

-- One table's partition: LIKE, CHECK, ATTACH, so that readers are never held up.
CREATE FUNCTION attach_partition(parent text, suffix text, lower_ms bigint, upper_ms bigint)
    RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || '_' || suffix;
    span text := format('job_id >= %L AND job_id < %L',
                        inferq.uuid_floor(lower_ms), inferq.uuid_floor(upper_ms));
BEGIN
    EXECUTE format('CREATE TABLE inferq.%I (LIKE inferq.%I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE inferq.%I ADD CONSTRAINT span CHECK (%s)', child, span);
    IF parent = 'call' THEN
        EXECUTE format('ALTER TABLE inferq.%I SET (fillfactor = 45, '
                       'autovacuum_vacuum_scale_factor = 0.02)', child);
    END IF;
    EXECUTE format('ALTER TABLE inferq.%I ATTACH PARTITION inferq.%I '
                   'FOR VALUES FROM (%L) TO (%L)', parent, child,
                   inferq.uuid_floor(lower_ms), inferq.uuid_floor(upper_ms));
    EXECUTE format('ALTER TABLE inferq.%I DROP CONSTRAINT span', child);
END $$;

-- Makes what is missing up to `partitions_ahead`; returns how many. Any worker may call it; one at
-- a time does the work, the others return 0 at once.
CREATE FUNCTION ensure_partitions() RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = inferq, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    width bigint := (SELECT value * 86400000 FROM setting WHERE name = 'partition_days');
    ahead bigint := (SELECT value FROM setting WHERE name = 'partitions_ahead');
    behind bigint := (SELECT value FROM setting WHERE name = 'partitions_behind');
    now_ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    next_ms bigint;
    made int := 0;
    tag text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('inferq partitions')) THEN
        RETURN 0;
    END IF;
    SELECT max(upper_ms) INTO next_ms FROM partition_span;
    -- After a gap longer than a span nothing is made for the past that nobody can write to.
    next_ms := greatest(coalesce(next_ms, 0), (now_ms / width - behind) * width);
    WHILE next_ms <= now_ms + ahead * width LOOP
        tag := to_char(to_timestamp(next_ms / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD');
        PERFORM attach_partition('result', tag, next_ms, next_ms + width);
        PERFORM attach_partition('call', tag, next_ms, next_ms + width);
        INSERT INTO partition_span VALUES (next_ms, next_ms + width, tag);
        next_ms := next_ms + width;
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Ids older than this have no partition: their jobs are refused, never run again.
CREATE FUNCTION oldest_live_ms() RETURNS bigint
    LANGUAGE sql STABLE
    RETURN (SELECT coalesce(min(lower_ms), 0) FROM inferq.partition_span);
