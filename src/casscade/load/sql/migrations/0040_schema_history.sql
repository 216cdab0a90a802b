-- Every version of every replicated table, and what became of the tables that are gone. Runs with search_path set to the
-- control schema.
-- definition: the table as it was. altered_at: the time of the ALTER by Cassandra's clock. ddl: what was run in
-- PostgreSQL for it. target: where its rows went. role and instance: who did it.
CREATE TABLE schema_versions (
    table_id    uuid        NOT NULL,
    version     integer     NOT NULL CHECK (version > 0),
    source_name text        NOT NULL,
    target_name text        NOT NULL,
    definition  jsonb       NOT NULL,
    changes     text[]      NOT NULL,
    ddl         text[]      NOT NULL,
    altered_us  bigint      NOT NULL,
    altered_at  timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    role        text        NOT NULL DEFAULT session_user,
    instance    text        NOT NULL,
    PRIMARY KEY (table_id, version)
);
CREATE INDEX schema_versions_source ON schema_versions (source_name, recorded_at);

-- The version of its table under which a letter was made, as `casscade schema history` labels it.
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS schema_version text;

-- Tables that were dropped in Cassandra; kept_as: the name under which their rows are kept. pinned_version: columns that
-- this version of the table does not have are left out.
ALTER TABLE targets
    ADD COLUMN dropped_at     timestamptz,
    ADD COLUMN kept_as        text,
    ADD COLUMN pinned_version integer;
