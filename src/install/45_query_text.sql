-- pg_get_viewdef() itself compares with unqualified operators (ruleutils.c: query_getviewrule), so
-- a superuser whose search_path names another schema before pg_catalog would call what lies there.
CREATE FUNCTION pipelinedb.query_text(definition oid) RETURNS text
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
    AS 'SELECT pg_get_viewdef($1)';
COMMENT ON FUNCTION pipelinedb.query_text(oid) IS 'text of a continuous query, with all names qualified';
