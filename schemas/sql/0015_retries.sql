-- Retries that never stampede: jobs whose next call waits for their route's retry budget say so.
SET LOCAL search_path = inferq;

INSERT INTO code (kind, code, name) VALUES ('class', 27, 'retry_budget');

-- What calls may have cost of which nobody knows what came, and after which jobs were called again: by
-- the day (UTC), for routes that bound it. A row holds what was taken in all, and by the last that took.
CREATE TABLE retry_cost (
    route text NOT NULL,                    -- "app=A task=T model=M", as the catalogue has it
    day integer NOT NULL,                   -- since 1970
    used_nusd bigint NOT NULL CHECK (used_nusd >= 0),
    taken_nusd bigint NOT NULL,
    amount_nusd bigint NOT NULL,
    PRIMARY KEY (route, day)
);

GRANT SELECT ON retry_cost TO inferq_worker, inferq_operator, inferq_reader, inferq_reviewer;
GRANT INSERT, UPDATE ON retry_cost TO inferq_worker;
