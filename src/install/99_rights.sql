-- The last word: everything above gets its rights.
SELECT pipelinedb.set_rights();
