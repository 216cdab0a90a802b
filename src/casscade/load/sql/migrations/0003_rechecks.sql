-- Rows that a snapshot saw and that lost their last value since: whether Cassandra still shows them is read again.
-- Runs with search_path set to the control schema.

CREATE TABLE rechecks (
    recheck_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline      text        NOT NULL,
    table_id      uuid        NOT NULL,
    partition_key bytea       NOT NULL,
    clustering    bytea       NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT now()
);
