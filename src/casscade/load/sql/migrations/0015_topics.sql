-- The topic that the positions of a pipeline's Kafka partitions belong to, as its first loader found it: its identity,
-- by how many partitions the place of a key is reckoned, and where each partition began.
-- Runs with search_path set to the control schema.
CREATE TABLE topics (
    pipeline   text        NOT NULL,
    topic      text        NOT NULL,
    topic_id   text        NOT NULL,
    partitions integer     NOT NULL,
    beginnings bigint[]    NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic)
);
