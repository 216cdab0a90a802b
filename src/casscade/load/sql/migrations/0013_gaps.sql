-- Input that was lost before it was applied, and how far its repair is. Runs with search_path set to the control
-- schema. A gap with the same source and key is the same one; table_id is NULL where every table is concerned.
CREATE TABLE gaps (
    gap_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline       text        NOT NULL,
    source         text        NOT NULL,
    gap_key        text        NOT NULL,
    reason         text        NOT NULL,
    segment        bigint      NOT NULL,
    segment_offset bigint      NOT NULL,
    detail         text        NOT NULL,
    table_id       uuid,
    state          text        NOT NULL DEFAULT 'open'
                   CHECK (state IN ('open', 'reading', 'comparing', 'repaired', 'ignored')),
    rows_repaired  bigint      NOT NULL DEFAULT 0,
    owner          text,
    detected_at    timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (pipeline, source, gap_key)
);
-- The runs of each agent: what it knew of its source ends with its state directory, and another run begins.
CREATE TABLE captures (
    pipeline text        NOT NULL,
    source   text        NOT NULL,
    run      text        NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, source, run)
);
