-- Limits that the whole fleet keeps together: what they are, who holds which share of them, what of
-- a day's budget is gone, and what was learned about an endpoint.
--
-- Sum over a limit's rows of greatest(share, seen) is never more than the limit: raises come out of
-- what is free by this count, and `seen` falls only when the holder says that it goes by the lower
-- share. So nobody's clock and no lost reply can hand out twice what is still in somebody's hands.
-- (Of calls in flight, greatest(share, seen, in_use): those that run go on.)
SET LOCAL search_path = inferq;

INSERT INTO code (kind, code, name) VALUES
    ('limit_scope', 1, 'endpoint'), ('limit_scope', 2, 'model'), ('limit_scope', 3, 'app'),
    ('limit_dimension', 1, 'requests_per_minute'),
    ('limit_dimension', 2, 'input_tokens_per_minute'),
    ('limit_dimension', 3, 'output_tokens_per_minute'),
    ('limit_dimension', 4, 'tokens_per_minute'),
    ('limit_dimension', 5, 'tokens_per_day'),
    ('limit_dimension', 6, 'in_flight'),
    ('class', 21, 'over_limit');

INSERT INTO setting VALUES
    ('limit_headroom_permille', 20, 'so much of each limit of units a minute stays unused: a '
                                    'provider counts by another clock, and other windows');

-- What is allowed. A row with neither amount is no limit; rows stay, so that a limit keeps its id.
CREATE TABLE limit_rule (
    limit_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope smallint NOT NULL CHECK (scope BETWEEN 1 AND 3),
    key text NOT NULL CHECK (key <> ''),    -- endpoint or model version as name@version; app's name
    dimension smallint NOT NULL CHECK (dimension BETWEEN 1 AND 6),
    of_catalogue bigint CHECK (of_catalogue BETWEEN 1 AND 1000000000000000),
    of_operator bigint CHECK (of_operator BETWEEN 1 AND 1000000000000000),  -- goes before it
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    UNIQUE (scope, key, dimension)
);

-- What one worker may use of a limit, in units of any minute, or calls at once. The worker writes
-- what it wants and holds, the keeper what it may hold from now on.
CREATE TABLE limit_share (
    limit_id int NOT NULL REFERENCES limit_rule,
    worker_id bigint NOT NULL,
    asks bigint NOT NULL,                   -- the worker's own count; who stops counting is dead
    want bigint NOT NULL CHECK (want >= 0),       -- units a minute that it could use; calls
    need bigint NOT NULL CHECK (need >= 0),       -- units of its largest call
    in_use bigint NOT NULL CHECK (in_use >= 0),   -- calls in flight; units of the last minute
    share bigint NOT NULL DEFAULT 0 CHECK (share >= 0),
    seen bigint NOT NULL CHECK (seen >= 0),       -- the most that it may go by, besides `share`
    wants bytea NOT NULL,                   -- by lane and app: worker/wants.h
    PRIMARY KEY (limit_id, worker_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- A day's budget, taken in chunks; days are those of UTC, by this server's clock.
CREATE TABLE limit_day (
    limit_id int NOT NULL REFERENCES limit_rule,
    day int NOT NULL,                       -- since 1970-01-01
    used bigint NOT NULL CHECK (used >= 0), -- in chunks handed out, less what came back
    taken bigint NOT NULL CHECK (taken >= 0),     -- the last chunk: what its taker is told
    amount bigint NOT NULL,                 -- the limit when it was taken
    PRIMARY KEY (limit_id, day)
) WITH (fillfactor = 50);

-- What calls have taught about an endpoint, so that no new worker has to be told by its own.
CREATE TABLE limit_learned (
    endpoint text PRIMARY KEY,              -- name@version, as the key of its limits
    multiplier smallint NOT NULL DEFAULT 1000 CHECK (multiplier BETWEEN 1 AND 1000),  -- permille
    ceiling smallint NOT NULL DEFAULT 1000, -- the multiplier at which it throttled last
    lowered_at timestamptz,                 -- the multiplier, last
    throttled_at timestamptz,               -- a call with a 429 since it has limits of units a minute
    concurrency int CHECK (concurrency >= 1),     -- calls at once that one worker bore; NULL: all
    paused_until timestamptz,
    paused_for smallint,                    -- class of what paused it
    faults smallint NOT NULL DEFAULT 0,     -- pauses in a row
    probing boolean NOT NULL DEFAULT false, -- after the pause one call goes alone, of one worker:
    probe_worker bigint,                    -- who may send it; NULL: whoever comes first
    probe_until timestamptz,                -- then another may
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((probe_worker IS NULL) = (probe_until IS NULL))
) WITH (fillfactor = 50);

-- What a job waited for: of its throttle_us so much because limits held it back, the last of them
-- this one. NULL: none did. A parked row whose wait_key is below 0 waits for that limit, negated.
ALTER TABLE result ADD COLUMN limit_us bigint, ADD COLUMN limit_id int;
ALTER TABLE parked ADD COLUMN limit_us bigint NOT NULL DEFAULT 0,
    ADD COLUMN limit_id int NOT NULL DEFAULT 0;

-- ---- for people and reports ---------------------------------------------------------------------

-- Limits in force: what was said, what is left of it to hand out, and what is handed out.
CREATE VIEW limit_now WITH (security_invoker = true) AS
SELECT r.limit_id, code_name('limit_scope', r.scope) AS scope, r.key,
       code_name('limit_dimension', r.dimension) AS dimension, r.amount, r.source,
       r.of_catalogue, r.of_operator, m.multiplier,
       CASE WHEN r.dimension > 4 THEN r.amount
            ELSE greatest(1, r.amount * m.multiplier / 1000 * m.kept / 1000) END AS usable,
       coalesce(s.holders, 0) AS holders, coalesce(s.workers, 0) AS workers,
       coalesce(s.held, 0)::bigint AS held,
       coalesce(s.in_use, 0)::bigint AS in_use, coalesce(s.want, 0)::bigint AS wanted,
       CASE WHEN r.dimension = 5 THEN coalesce(d.used, 0) END AS used_today,
       r.changed_at, r.changed_by
FROM (SELECT *, coalesce(of_operator, of_catalogue) AS amount,
             CASE WHEN of_operator IS NULL THEN 'catalogue' ELSE 'operator' END AS source
      FROM limit_rule) r
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT l.multiplier::int FROM limit_learned l
                     WHERE r.scope = 1 AND l.endpoint = r.key), 1000) AS multiplier,
           1000 - coalesce((SELECT value FROM setting
                            WHERE name = 'limit_headroom_permille'), 0) AS kept) m
LEFT JOIN LATERAL (
    SELECT count(*) AS workers, count(*) FILTER (WHERE t.share > 0) AS holders,
           sum(greatest(t.share, t.seen, CASE WHEN r.dimension = 6 THEN t.in_use END)) AS held,
           sum(t.in_use) AS in_use, sum(t.want) AS want
    FROM limit_share t WHERE t.limit_id = r.limit_id) s ON true
LEFT JOIN limit_day d ON d.limit_id = r.limit_id
    AND d.day = floor(extract(epoch FROM now()) / 86400)::int
WHERE r.amount IS NOT NULL;

-- Who holds how much of which.
CREATE VIEW limit_holder WITH (security_invoker = true) AS
SELECT s.limit_id, code_name('limit_scope', r.scope) AS scope, r.key,
       code_name('limit_dimension', r.dimension) AS dimension, s.worker_id, w.host, w.pid,
       s.share, s.seen, s.want, s.need, s.in_use
FROM limit_share s JOIN limit_rule r USING (limit_id) LEFT JOIN worker w USING (worker_id);

-- ---- rights -------------------------------------------------------------------------------------

GRANT SELECT ON limit_rule, limit_share, limit_day, limit_learned, limit_now, limit_holder
    TO inferq_worker, inferq_operator, inferq_reader, inferq_reviewer;
GRANT SELECT ON setting TO inferq_reviewer;                -- limit_now reads it
-- A worker writes what its catalogue file says, never what an operator has said.
GRANT INSERT (scope, key, dimension, of_catalogue, changed_by) ON limit_rule TO inferq_worker;
GRANT UPDATE (of_catalogue, changed_at, changed_by) ON limit_rule TO inferq_worker;
GRANT INSERT (scope, key, dimension, of_operator, changed_by) ON limit_rule TO inferq_operator;
GRANT UPDATE (of_operator, changed_at, changed_by) ON limit_rule TO inferq_operator;
GRANT INSERT, UPDATE, DELETE ON limit_share TO inferq_worker;
GRANT INSERT, UPDATE ON limit_day, limit_learned TO inferq_worker;
GRANT UPDATE ON limit_learned TO inferq_operator;          -- what was learned wrongly
