-- The control schema: who owns a source, how far it is applied, what is deleted, what could not be applied.
-- Runs with search_path set to the control schema.

CREATE TABLE targets (
    target_no     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_id      uuid        NOT NULL,
    static        boolean     NOT NULL,
    source_name   text        NOT NULL,
    target_schema text        NOT NULL,
    target_name   text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (table_id, static)
);

-- Numbers of a table's columns: row states refer to them, so they never change while the table id lives.
CREATE TABLE column_indexes (
    table_id     uuid    NOT NULL,
    column_name  text    NOT NULL,
    column_index integer NOT NULL,
    PRIMARY KEY (table_id, column_name),
    UNIQUE (table_id, column_index)
);

-- One row for each source of a pipeline. Whoever takes a source over raises its epoch; a commit with an older one fails.
CREATE TABLE positions (
    pipeline       text        NOT NULL,
    source         text        NOT NULL,
    epoch          bigint      NOT NULL,
    segment        bigint      NOT NULL DEFAULT 0,
    segment_offset bigint      NOT NULL DEFAULT 0,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, source)
);

-- What is known of rows that nobody sees: deletions and cell tombstones that older writes may still meet.
CREATE TABLE row_tombstones (
    target_no   integer     NOT NULL,
    key         bytea       NOT NULL,
    write_time  bigint      NOT NULL,
    state       bytea       NOT NULL,
    purge_after timestamptz NOT NULL,
    PRIMARY KEY (target_no, key)
);
CREATE INDEX row_tombstones_purge ON row_tombstones (purge_after);

-- Deletions over several rows of a partition. Both bounds empty: the whole partition with its static row.
CREATE TABLE range_tombstones (
    target_no     integer     NOT NULL,
    partition_key bytea       NOT NULL,
    start_bound   bytea       NOT NULL,
    end_bound     bytea       NOT NULL,
    write_time    bigint      NOT NULL,
    purge_after   timestamptz NOT NULL,
    PRIMARY KEY (target_no, partition_key, start_bound, end_bound)
);
CREATE INDEX range_tombstones_purge ON range_tombstones (purge_after);

-- What could not be applied, with its bytes untouched.
CREATE TABLE dead_letters (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline        text        NOT NULL,
    event_id        text        NOT NULL,
    source_name     text        NOT NULL,
    code            text        NOT NULL,
    message         text        NOT NULL,
    encoding        smallint    NOT NULL,
    mutation        bytea       NOT NULL,
    first_failed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (pipeline, event_id, code)
);
