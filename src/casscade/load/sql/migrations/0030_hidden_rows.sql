-- Rows that CQL shows and that the condition of their table (where) keeps out of PostgreSQL: their whole state, so that
-- they can come back whole when a later write makes them match. Runs with search_path set to the control schema.
CREATE TABLE hidden_rows (
    target_no     integer NOT NULL,
    key           bytea   NOT NULL,
    partition_key bytea   NOT NULL,
    -- The partition key where its column has no room for it, and the clustering.
    whole_key     bytea   NOT NULL,
    write_time    bigint  NOT NULL,
    state         bytea   NOT NULL,
    expires_at    timestamptz,
    PRIMARY KEY (target_no, key)
);
CREATE INDEX hidden_rows_partition ON hidden_rows (target_no, partition_key);
CREATE INDEX hidden_rows_expiry ON hidden_rows (target_no, expires_at) WHERE expires_at IS NOT NULL;
