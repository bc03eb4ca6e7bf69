-- What readers of continuous views call.
CREATE TYPE pipelinedb.aggregate_state;

CREATE FUNCTION pipelinedb.aggregate_state_in(cstring) RETURNS pipelinedb.aggregate_state
    AS 'MODULE_PATHNAME', 'pipeline_aggregate_state_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.aggregate_state_out(pipelinedb.aggregate_state) RETURNS cstring
    AS 'MODULE_PATHNAME', 'pipeline_aggregate_state_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.aggregate_state_recv(internal) RETURNS pipelinedb.aggregate_state
    AS 'MODULE_PATHNAME', 'pipeline_aggregate_state_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.aggregate_state_send(pipelinedb.aggregate_state) RETURNS bytea
    AS 'MODULE_PATHNAME', 'pipeline_aggregate_state_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pipelinedb.aggregate_state_in(cstring) IS 'input: checked native states, foreign ones from superusers only';
COMMENT ON FUNCTION pipelinedb.aggregate_state_out(pipelinedb.aggregate_state) IS 'output: hexadecimal';
COMMENT ON FUNCTION pipelinedb.aggregate_state_recv(internal) IS 'binary input, checked as the text input is';
COMMENT ON FUNCTION pipelinedb.aggregate_state_send(pipelinedb.aggregate_state) IS 'binary output';

CREATE TYPE pipelinedb.aggregate_state (
    INPUT = pipelinedb.aggregate_state_in,
    OUTPUT = pipelinedb.aggregate_state_out,
    RECEIVE = pipelinedb.aggregate_state_recv,
    SEND = pipelinedb.aggregate_state_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended
);
COMMENT ON TYPE pipelinedb.aggregate_state IS 'serialized transition state of an aggregate; pipelinedb.finalize() reads it';

-- RESTRICTED: the aggregate's final function runs in the leader, where an Agg node finalizes too.
CREATE FUNCTION pipelinedb.finalize(aggregate regprocedure, state "any", result anyelement)
    RETURNS anyelement
    AS 'MODULE_PATHNAME', 'pipeline_finalize' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION pipelinedb.finalize(regprocedure, "any", anyelement)
    IS 'result of an aggregate from its stored transition state; the third argument gives the type';

CREATE FUNCTION pipelinedb.finalize(aggregate regprocedure, state "any", result anyelement,
                                    VARIADIC inputs "any")
    RETURNS anyelement
    AS 'MODULE_PATHNAME', 'pipeline_finalize' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION pipelinedb.finalize(regprocedure, "any", anyelement, "any")
    IS 'the same for aggregates whose state or result follows from the types of their inputs';
