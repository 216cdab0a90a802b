-- Rows to be read again once for each change, whatever many changes wait: also static rows, and the columns of which
-- CQL hides the cells. Runs with search_path set to the control schema.

ALTER TABLE rechecks
    ADD COLUMN static        boolean     NOT NULL DEFAULT false,
    ADD COLUMN row_key       bytea,
    ADD COLUMN columns       integer[]   NOT NULL DEFAULT '{}',
    ADD COLUMN claimed_until timestamptz NOT NULL DEFAULT '-infinity';
-- Requests from before have no key to be found by; each keeps a place of its own.
UPDATE rechecks SET row_key = int8send(recheck_id);
ALTER TABLE rechecks ALTER COLUMN row_key SET NOT NULL;
CREATE UNIQUE INDEX rechecks_row ON rechecks (pipeline, table_id, static, row_key);
