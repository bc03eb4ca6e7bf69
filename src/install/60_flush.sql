CREATE FUNCTION pipelinedb.flush() RETURNS boolean
    AS 'MODULE_PATHNAME', 'pipeline_flush' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pipelinedb.flush() IS 'waits until everything that was committed before is in the continuous views; false if a blocked view was left out';
