-- Snapshots that are not to be read on with for now: one row for each table, or one with an empty name for all of them.
CREATE TABLE snapshot_pauses (
    pipeline    text        NOT NULL,
    source_name text        NOT NULL,
    paused_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, source_name)
);
-- Idle workers look for tasks all the time: what is done must not cost them anything.
CREATE INDEX snapshot_tasks_open ON snapshot_tasks (pipeline) WHERE state <> 'done';
