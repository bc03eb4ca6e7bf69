-- Retention: when rows of a continuous view expire.
CREATE FUNCTION pipelinedb.set_ttl(name text, expire_after interval, time_column text,
                                   OUT ttl int4, OUT ttl_attno int2)
    AS 'MODULE_PATHNAME', 'pipeline_set_ttl' LANGUAGE C;
COMMENT ON FUNCTION pipelinedb.set_ttl(text, interval, text) IS 'lets rows of a continuous view expire so long after the time in a column, or with NULL for both never; returns the seconds and the number of the column, or -1 and 0';

CREATE FUNCTION pipelinedb.ttl_expire(name text) RETURNS int8
    AS 'MODULE_PATHNAME', 'pipeline_ttl_expire' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.ttl_expire(text) IS 'deletes all expired rows of a continuous view at once, and returns how many';
