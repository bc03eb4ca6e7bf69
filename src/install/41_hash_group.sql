-- The index that finds a group whose key has no bounded width. PARALLEL SAFE and IMMUTABLE as
-- the hash functions of the types are.
CREATE FUNCTION pipelinedb.hash_group(VARIADIC "any") RETURNS int4
    AS 'MODULE_PATHNAME', 'pipeline_hash_group' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION pipelinedb.hash_group("any")
    IS 'hash of a group: equal values of a type hash alike, NULL equals NULL';
