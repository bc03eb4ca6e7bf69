CREATE FUNCTION pipelinedb.stream_fdw_handler() RETURNS fdw_handler
    AS 'MODULE_PATHNAME', 'pipeline_stream_fdw_handler' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.stream_fdw_handler() IS 'handler of the foreign-data wrapper behind streams';

CREATE FUNCTION pipelinedb.stream_fdw_validator(options text[], catalog oid) RETURNS void
    AS 'MODULE_PATHNAME', 'pipeline_stream_fdw_validator' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.stream_fdw_validator(text[], oid) IS 'checks the options of streams; says so if the library was not loaded at server start';

CREATE FOREIGN DATA WRAPPER stream_fdw
    HANDLER pipelinedb.stream_fdw_handler VALIDATOR pipelinedb.stream_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER stream_fdw IS 'streams: rows go to continuous queries and are not stored';

CREATE SERVER pipelinedb FOREIGN DATA WRAPPER stream_fdw;
COMMENT ON SERVER pipelinedb IS 'the server that every stream names';
