-- The highest time that was given to a mutation of a source in order of its arrival (conflicts: arrival_order).
-- Runs with search_path set to the control schema.
CREATE TABLE arrivals (
    pipeline text   NOT NULL,
    source   text   NOT NULL,
    newest   bigint NOT NULL,
    PRIMARY KEY (pipeline, source)
);
