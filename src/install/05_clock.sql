-- STABLE: one value for a whole statement, so that an index can be used.
CREATE FUNCTION pipelinedb.clock() RETURNS timestamptz
    AS 'MODULE_PATHNAME', 'pipeline_clock' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION pipelinedb.clock() IS 'the time that sliding windows and retention go by: the start of the statement plus pipelinedb.clock_offset';
