-- PipelineDB 0.9's statements, which the server's parser does not know: a language whose scripts
-- DO runs. Trusted, since a script can do no more than its caller could do statement by statement.
CREATE FUNCTION pipelinedb.dialect_handler() RETURNS language_handler
    AS 'MODULE_PATHNAME', 'pipeline_dialect_handler' LANGUAGE C;
COMMENT ON FUNCTION pipelinedb.dialect_handler() IS 'internal: the language pipelinedb has no functions';

CREATE FUNCTION pipelinedb.dialect_inline(internal) RETURNS void
    AS 'MODULE_PATHNAME', 'pipeline_dialect_inline' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.dialect_inline(internal) IS 'internal: runs a script of DO LANGUAGE pipelinedb';

CREATE FUNCTION pipelinedb.dialect_validator(oid) RETURNS void
    AS 'MODULE_PATHNAME', 'pipeline_dialect_validator' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.dialect_validator(oid) IS 'internal: refuses CREATE FUNCTION in the language pipelinedb';

CREATE TRUSTED LANGUAGE pipelinedb HANDLER pipelinedb.dialect_handler
    INLINE pipelinedb.dialect_inline VALIDATOR pipelinedb.dialect_validator;
COMMENT ON LANGUAGE pipelinedb IS 'scripts of PipelineDB 0.9, for DO';
GRANT USAGE ON LANGUAGE pipelinedb TO PUBLIC;

CREATE FUNCTION pipelinedb.dialect_sql(script text, OUT line int4, OUT statement text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pipeline_dialect_sql' LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION pipelinedb.dialect_sql(text) IS 'the statements that a script of PipelineDB 0.9 becomes, without running them';
