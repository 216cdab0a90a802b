-- Bounds and partition keys too long for the index: their columns hold a beginning and a digest, this one the bounds.
-- Runs with search_path set to the control schema.
ALTER TABLE range_tombstones ADD COLUMN long_bounds bytea;
