CREATE FUNCTION pipelinedb.combine_table(name text, relation text) RETURNS bool
    AS 'MODULE_PATHNAME', 'pipeline_combine_table' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.combine_table(text, text)
    IS 'merges the states in a table that has the columns of a continuous view''s table into it';
