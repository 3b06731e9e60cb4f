-- Workers ask whether others wait behind an app that fills a lane: of the newest batches.
SET LOCAL search_path = inferq;

CREATE INDEX batch_registered ON batch (registered_at);
