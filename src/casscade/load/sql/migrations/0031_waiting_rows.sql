-- Rows that a foreign key keeps out until the row that it names is there, or until their time is over. Their mutations
-- merge as they do from the stream, so that it makes no difference when. Runs with search_path set to the control schema.
CREATE TABLE waiting_rows (
    target_no       integer     NOT NULL,
    event_id        text        NOT NULL,
    constraint_name text        NOT NULL,
    encoding        smallint    NOT NULL,
    mutation        bytea       NOT NULL,
    since           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target_no, event_id)
);
