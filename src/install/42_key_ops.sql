-- GIN over the hash of a key, so that a query finds keys of any width: a btree entry is limited to
-- 2,704 bytes, and a hash index walks through all equal values to add one more.
CREATE FUNCTION pipelinedb.key_consistent(internal, int2, anyelement, int4, internal, internal)
    RETURNS bool AS 'MODULE_PATHNAME', 'pipeline_key_consistent' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pipelinedb.key_consistent(internal, int2, anyelement, int4, internal, internal)
    IS 'GIN support: every match is compared again';

CREATE FUNCTION pipelinedb.key_extract_value(text, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.key_extract_query(text, internal, int2, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR CLASS pipelinedb.text_key_ops FOR TYPE text USING gin AS
    OPERATOR 1 pg_catalog.= (text, text),
    FUNCTION 2 pipelinedb.key_extract_value(text, internal, internal),
    FUNCTION 3 pipelinedb.key_extract_query(text, internal, int2, internal, internal),
    FUNCTION 4 pipelinedb.key_consistent(internal, int2, anyelement, int4, internal, internal),
    STORAGE int4;
COMMENT ON FUNCTION pipelinedb.key_extract_value(text, internal, internal) IS 'GIN support: the hash of a value';
COMMENT ON FUNCTION pipelinedb.key_extract_query(text, internal, int2, internal, internal) IS 'GIN support: the hash of what is searched';
COMMENT ON OPERATOR CLASS pipelinedb.text_key_ops USING gin IS 'equality of keys of any width';

CREATE FUNCTION pipelinedb.key_extract_value(bytea, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.key_extract_query(bytea, internal, int2, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR CLASS pipelinedb.bytea_key_ops FOR TYPE bytea USING gin AS
    OPERATOR 1 pg_catalog.= (bytea, bytea),
    FUNCTION 2 pipelinedb.key_extract_value(bytea, internal, internal),
    FUNCTION 3 pipelinedb.key_extract_query(bytea, internal, int2, internal, internal),
    FUNCTION 4 pipelinedb.key_consistent(internal, int2, anyelement, int4, internal, internal),
    STORAGE int4;
COMMENT ON FUNCTION pipelinedb.key_extract_value(bytea, internal, internal) IS 'GIN support: the hash of a value';
COMMENT ON FUNCTION pipelinedb.key_extract_query(bytea, internal, int2, internal, internal) IS 'GIN support: the hash of what is searched';
COMMENT ON OPERATOR CLASS pipelinedb.bytea_key_ops USING gin IS 'equality of keys of any width';

CREATE FUNCTION pipelinedb.key_extract_value(numeric, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.key_extract_query(numeric, internal, int2, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR CLASS pipelinedb.numeric_key_ops FOR TYPE numeric USING gin AS
    OPERATOR 1 pg_catalog.= (numeric, numeric),
    FUNCTION 2 pipelinedb.key_extract_value(numeric, internal, internal),
    FUNCTION 3 pipelinedb.key_extract_query(numeric, internal, int2, internal, internal),
    FUNCTION 4 pipelinedb.key_consistent(internal, int2, anyelement, int4, internal, internal),
    STORAGE int4;
COMMENT ON FUNCTION pipelinedb.key_extract_value(numeric, internal, internal) IS 'GIN support: the hash of a value';
COMMENT ON FUNCTION pipelinedb.key_extract_query(numeric, internal, int2, internal, internal) IS 'GIN support: the hash of what is searched';
COMMENT ON OPERATOR CLASS pipelinedb.numeric_key_ops USING gin IS 'equality of keys of any width';

CREATE FUNCTION pipelinedb.key_extract_value(jsonb, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.key_extract_query(jsonb, internal, int2, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR CLASS pipelinedb.jsonb_key_ops FOR TYPE jsonb USING gin AS
    OPERATOR 1 pg_catalog.= (jsonb, jsonb),
    FUNCTION 2 pipelinedb.key_extract_value(jsonb, internal, internal),
    FUNCTION 3 pipelinedb.key_extract_query(jsonb, internal, int2, internal, internal),
    FUNCTION 4 pipelinedb.key_consistent(internal, int2, anyelement, int4, internal, internal),
    STORAGE int4;
COMMENT ON FUNCTION pipelinedb.key_extract_value(jsonb, internal, internal) IS 'GIN support: the hash of a value';
COMMENT ON FUNCTION pipelinedb.key_extract_query(jsonb, internal, int2, internal, internal) IS 'GIN support: the hash of what is searched';
COMMENT ON OPERATOR CLASS pipelinedb.jsonb_key_ops USING gin IS 'equality of keys of any width';

CREATE FUNCTION pipelinedb.key_extract_value(anyarray, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.key_extract_query(anyarray, internal, int2, internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_key_extract_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE OPERATOR CLASS pipelinedb.array_key_ops FOR TYPE anyarray USING gin AS
    OPERATOR 1 pg_catalog.= (anyarray, anyarray),
    FUNCTION 2 pipelinedb.key_extract_value(anyarray, internal, internal),
    FUNCTION 3 pipelinedb.key_extract_query(anyarray, internal, int2, internal, internal),
    FUNCTION 4 pipelinedb.key_consistent(internal, int2, anyelement, int4, internal, internal),
    STORAGE int4;
COMMENT ON FUNCTION pipelinedb.key_extract_value(anyarray, internal, internal) IS 'GIN support: the hash of a value';
COMMENT ON FUNCTION pipelinedb.key_extract_query(anyarray, internal, int2, internal, internal) IS 'GIN support: the hash of what is searched';
COMMENT ON OPERATOR CLASS pipelinedb.array_key_ops USING gin IS 'equality of keys of any width';
