-- The catalogue: what may be called, where, under which version, at which price. Entries are
-- immutable (the sha256 of an entry's fields guards that); states and pointers move, audited.
SET LOCAL search_path = inferq;

CREATE TABLE endpoint (
    endpoint_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    version int NOT NULL CHECK (version >= 1),
    base_url text NOT NULL,
    adapter smallint NOT NULL,
    credential text NOT NULL,               -- a reference, env:NAME or file:PATH; never the secret
    ca_file text NOT NULL,
    max_in_flight int NOT NULL CHECK (max_in_flight >= 1),
    timeout_ms int NOT NULL CHECK (timeout_ms >= 1),
    connect_timeout_ms int NOT NULL CHECK (connect_timeout_ms >= 1),
    send_ids boolean NOT NULL,
    idempotency_key boolean NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name, version)
);

CREATE TABLE model (
    model_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    provider text NOT NULL,
    owner text NOT NULL,
    current_version_id int,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE model_version (
    model_version_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL REFERENCES model (name),
    version text NOT NULL,
    label text NOT NULL UNIQUE,             -- model@version
    upstream_model text NOT NULL,
    endpoint_id int NOT NULL REFERENCES endpoint,
    state smallint NOT NULL,
    context_tokens bigint NOT NULL,
    max_output_tokens bigint NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (model, version)
);
ALTER TABLE model ADD FOREIGN KEY (current_version_id) REFERENCES model_version;

CREATE TABLE price (                        -- pico-USD per unit; NULL: not known, which is not zero
    price_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_version_id int NOT NULL REFERENCES model_version,
    valid_from timestamptz NOT NULL,
    input_pusd bigint CHECK (input_pusd >= 0),
    cached_pusd bigint CHECK (cached_pusd >= 0),
    output_pusd bigint CHECK (output_pusd >= 0),
    reasoning_pusd bigint CHECK (reasoning_pusd >= 0),
    request_pusd bigint NOT NULL CHECK (request_pusd >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (model_version_id, valid_from)
);

CREATE TABLE model_default (
    app text NOT NULL,
    task text NOT NULL,
    model text NOT NULL REFERENCES model (name),
    PRIMARY KEY (app, task)
);

CREATE TABLE prompt_version (
    prompt_version text PRIMARY KEY,        -- hex SHA-256 of the template
    template text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit_log (                    -- append-only by grants
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL DEFAULT ''
);
