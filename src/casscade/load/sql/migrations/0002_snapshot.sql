-- Snapshot tasks: one token range of one table each. Runs with search_path set to the control schema.
-- A task covers the tokens in (range_start, range_end]. Everything up to last_token is durable in the target: the
-- loader moves last_token, rows and state in the transaction of the rows themselves.
CREATE TABLE snapshot_tasks (
    task_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline    text        NOT NULL,
    table_id    uuid        NOT NULL,
    source_name text        NOT NULL,
    range_start bigint      NOT NULL,
    range_end   bigint      NOT NULL,
    last_token  bigint      NOT NULL,
    rows        bigint      NOT NULL DEFAULT 0,
    state       text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'claimed', 'done')),
    owner       text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    claimed_at  timestamptz,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (range_start < range_end AND last_token BETWEEN range_start AND range_end),
    UNIQUE (pipeline, table_id, range_start)
);
CREATE INDEX snapshot_tasks_pending ON snapshot_tasks (pipeline, task_id) WHERE state = 'pending';
