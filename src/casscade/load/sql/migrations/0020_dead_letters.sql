-- Dead letters with their history, and the way back: who asked for a replay, who is at it. Runs with search_path set to
-- the control schema.
-- key_digest: of the partition key. scanned: read from a table, not from a commit log. topic, partition and
-- message_offset: where the message lies, with Kafka. state: waiting for a decision, requested, or replaying until
-- claimed_until.
ALTER TABLE dead_letters
    ADD COLUMN key_digest     text        NOT NULL DEFAULT '',
    ADD COLUMN stack          text        NOT NULL DEFAULT '',
    ADD COLUMN retry_count    integer     NOT NULL DEFAULT 0,
    ADD COLUMN last_failed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN schema_version text,
    ADD COLUMN scanned        boolean     NOT NULL DEFAULT false,
    ADD COLUMN topic          text,
    ADD COLUMN partition      integer,
    ADD COLUMN message_offset bigint,
    ADD COLUMN state          text        NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'requested', 'replaying')),
    ADD COLUMN claimed_until  timestamptz NOT NULL DEFAULT '-infinity';
UPDATE dead_letters SET last_failed_at = first_failed_at;
CREATE INDEX dead_letters_asked ON dead_letters (pipeline, id) WHERE state <> 'waiting';

-- How far the topic of dead letters was looked through for messages that waited for PostgreSQL.
CREATE TABLE resubmissions (
    pipeline    text        NOT NULL,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    next_offset bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic, partition)
);
