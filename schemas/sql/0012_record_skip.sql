-- Records that an operator leaves out, by their place in Kafka: `inferq skip --topic ...`. Workers
-- read the table before they look at the first record of partitions that they are given, and when
-- they are told; such a record is not decoded: it becomes a dead letter of its bytes. At most 1000
-- rows, which `inferq upkeep` deletes once Kafka does not hold the record any more.
SET LOCAL search_path = inferq;

CREATE TABLE record_skip (
    topic text NOT NULL,
    partition int NOT NULL CHECK (partition >= 0),
    record_offset bigint NOT NULL CHECK (record_offset >= 0),
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (topic, partition, record_offset)
);

GRANT SELECT ON record_skip TO inferq_worker, inferq_operator, inferq_reader, inferq_reviewer;
GRANT INSERT, DELETE ON record_skip TO inferq_operator;
