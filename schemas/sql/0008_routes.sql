-- What a job's route decides when nobody knows what came of a call (schemas/catalogue.md): it is
-- held for review, or given up, with a dead letter that is discarded from the start.
SET LOCAL search_path = inferq;

INSERT INTO code (kind, code, name) VALUES ('class', 24, 'held'), ('class', 25, 'given_up');
