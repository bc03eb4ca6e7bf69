-- Aggregates over stored states. Their support functions take internal, so only the executor can
-- call them. READ_WRITE: the final function of the aggregate named may write to the state.
CREATE FUNCTION pipelinedb.combine_state_step(internal, regprocedure, "any", anyelement) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_combine_state_step' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.combine_state_step(internal, regprocedure, "any", anyelement, VARIADIC "any") RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_combine_state_step' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.combine_state_final(internal, regprocedure, "any", anyelement) RETURNS anyelement
    AS 'MODULE_PATHNAME', 'pipeline_combine_state_final' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.combine_state_final(internal, regprocedure, "any", anyelement, VARIADIC "any") RETURNS anyelement
    AS 'MODULE_PATHNAME', 'pipeline_combine_state_final' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.merge_states_step(internal, regprocedure, anyelement) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_merge_states_step' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.merge_states_step(internal, regprocedure, anyelement, VARIADIC "any") RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_merge_states_step' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.merge_states_final(internal, regprocedure, anyelement) RETURNS anyelement
    AS 'MODULE_PATHNAME', 'pipeline_merge_states_final' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.merge_states_final(internal, regprocedure, anyelement, VARIADIC "any") RETURNS anyelement
    AS 'MODULE_PATHNAME', 'pipeline_merge_states_final' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.combine_state_combine(internal, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_combine_state_combine' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.combine_state_serialize(internal) RETURNS bytea
    AS 'MODULE_PATHNAME', 'pipeline_combine_state_serialize' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION pipelinedb.combine_state_deserialize(bytea, internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_combine_state_deserialize' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pipelinedb.combine_state_step(internal, regprocedure, "any", anyelement) IS 'transition function of combine_state';
COMMENT ON FUNCTION pipelinedb.combine_state_step(internal, regprocedure, "any", anyelement, "any") IS 'transition function of combine_state';
COMMENT ON FUNCTION pipelinedb.combine_state_final(internal, regprocedure, "any", anyelement) IS 'final function of combine_state';
COMMENT ON FUNCTION pipelinedb.combine_state_final(internal, regprocedure, "any", anyelement, "any") IS 'final function of combine_state';
COMMENT ON FUNCTION pipelinedb.merge_states_step(internal, regprocedure, anyelement) IS 'transition function of merge_states';
COMMENT ON FUNCTION pipelinedb.merge_states_step(internal, regprocedure, anyelement, "any") IS 'transition function of merge_states';
COMMENT ON FUNCTION pipelinedb.merge_states_final(internal, regprocedure, anyelement) IS 'final function of merge_states';
COMMENT ON FUNCTION pipelinedb.merge_states_final(internal, regprocedure, anyelement, "any") IS 'final function of merge_states';
COMMENT ON FUNCTION pipelinedb.combine_state_combine(internal, internal) IS 'combine function of combine_state and merge_states';
COMMENT ON FUNCTION pipelinedb.combine_state_serialize(internal) IS 'serial function of combine_state and merge_states';
COMMENT ON FUNCTION pipelinedb.combine_state_deserialize(bytea, internal) IS 'deserial function of combine_state and merge_states';

-- SSPACE: what states of a few words take, as measured. Without it the planner reckons with 8 kB, and
-- sorts the rows of a window of ten thousand groups instead of hashing them.
CREATE AGGREGATE pipelinedb.combine_state(aggregate regprocedure, state "any", result anyelement) (
    SFUNC = pipelinedb.combine_state_step,
    STYPE = internal,
    SSPACE = 150,
    FINALFUNC = pipelinedb.combine_state_final,
    FINALFUNC_EXTRA,
    FINALFUNC_MODIFY = READ_WRITE,
    COMBINEFUNC = pipelinedb.combine_state_combine,
    SERIALFUNC = pipelinedb.combine_state_serialize,
    DESERIALFUNC = pipelinedb.combine_state_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelinedb.combine_state(regprocedure, "any", anyelement)
    IS 'result of an aggregate from many of its stored states; the third argument gives the type';

CREATE AGGREGATE pipelinedb.combine_state(aggregate regprocedure, state "any", result anyelement,
                                          VARIADIC inputs "any") (
    SFUNC = pipelinedb.combine_state_step,
    STYPE = internal,
    SSPACE = 150,
    FINALFUNC = pipelinedb.combine_state_final,
    FINALFUNC_EXTRA,
    FINALFUNC_MODIFY = READ_WRITE,
    COMBINEFUNC = pipelinedb.combine_state_combine,
    SERIALFUNC = pipelinedb.combine_state_serialize,
    DESERIALFUNC = pipelinedb.combine_state_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelinedb.combine_state(regprocedure, "any", anyelement, "any")
    IS 'the same for aggregates whose state or result follows from the types of their inputs';

CREATE AGGREGATE pipelinedb.merge_states(aggregate regprocedure, state anyelement) (
    SFUNC = pipelinedb.merge_states_step,
    STYPE = internal,
    FINALFUNC = pipelinedb.merge_states_final,
    FINALFUNC_EXTRA,
    FINALFUNC_MODIFY = READ_WRITE,
    COMBINEFUNC = pipelinedb.combine_state_combine,
    SERIALFUNC = pipelinedb.combine_state_serialize,
    DESERIALFUNC = pipelinedb.combine_state_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelinedb.merge_states(regprocedure, anyelement)
    IS 'one stored state from many of an aggregate, to be combined further';

CREATE AGGREGATE pipelinedb.merge_states(aggregate regprocedure, state anyelement, VARIADIC inputs "any") (
    SFUNC = pipelinedb.merge_states_step,
    STYPE = internal,
    FINALFUNC = pipelinedb.merge_states_final,
    FINALFUNC_EXTRA,
    FINALFUNC_MODIFY = READ_WRITE,
    COMBINEFUNC = pipelinedb.combine_state_combine,
    SERIALFUNC = pipelinedb.combine_state_serialize,
    DESERIALFUNC = pipelinedb.combine_state_deserialize,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE pipelinedb.merge_states(regprocedure, anyelement, "any")
    IS 'the same for aggregates whose state follows from the types of their inputs';

-- In the schema that CREATE EXTENSION names, so that combine(column) is found as in PipelineDB.
-- The planner puts combine_state() in its place; the functions only say that it could not.
CREATE FUNCTION pipelinedb.combine_placeholder(internal, anyelement) RETURNS internal
    AS 'MODULE_PATHNAME', 'pipeline_combine_placeholder' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION pipelinedb.combine_placeholder_final(internal, anyelement) RETURNS anyelement
    AS 'MODULE_PATHNAME', 'pipeline_combine_placeholder' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION pipelinedb.combine_placeholder(internal, anyelement) IS 'transition function of combine: an error';
COMMENT ON FUNCTION pipelinedb.combine_placeholder_final(internal, anyelement) IS 'final function of combine: an error';

CREATE AGGREGATE @extschema@.combine(anyelement) (
    SFUNC = pipelinedb.combine_placeholder,
    STYPE = internal,
    FINALFUNC = pipelinedb.combine_placeholder_final,
    FINALFUNC_EXTRA,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE @extschema@.combine(anyelement)
    IS 'an aggregate column of a continuous view over a coarser grouping';
