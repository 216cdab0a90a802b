-- The newest truncation of each table that each source is known to have recorded. Runs with search_path set to the
-- control schema. (segment, segment_offset): mutations of the source up to there are void. rewind_due: the relations
-- were emptied, and the source has still to go back to that position (or to read the table again).
CREATE TABLE truncations (
    pipeline        text        NOT NULL,
    source          text        NOT NULL,
    table_id        uuid        NOT NULL,
    segment         bigint      NOT NULL,
    segment_offset  bigint      NOT NULL,
    truncated_at_ms bigint      NOT NULL,
    rewind_due      boolean     NOT NULL DEFAULT false,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, source, table_id)
);
