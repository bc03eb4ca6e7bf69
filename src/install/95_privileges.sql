-- Default privileges of whoever creates the extension (ALTER DEFAULT PRIVILEGES) apply to its
-- objects too. "GRANT ALL ON TABLES" there would open the spool and the progress to everybody,
-- and "REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC" would leave nobody able to read a view. This
-- takes back what they gave, and restores the built-in rights that they took away. What the
-- script grants itself stays: SELECT on views and USAGE of the schema for PUBLIC.
DO $$
DECLARE
    changed char[] := ARRAY(SELECT defaclobjtype::text FROM pg_catalog.pg_default_acl
        WHERE defaclnamespace = 0 AND defaclrole =
            (SELECT extowner FROM pg_catalog.pg_extension WHERE extname = 'pipeline_ext'));
    member record;
    grantee oid;
BEGIN
    FOR member IN
        SELECT CASE WHEN c.relkind = 'v' THEN 'v' ELSE 'r' END AS kind, 'TABLE' AS word,
               c.oid::regclass::text AS name, c.relacl AS acl, c.relowner AS owner, false AS internal
          FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid
         WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'v', 'S') AND 'r' = ANY (changed)
           AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'pipeline_ext')
        UNION ALL
        SELECT 'f', 'FUNCTION', p.oid::regprocedure::text, p.proacl, p.proowner,
               obj_description(p.oid, 'pg_proc') LIKE 'internal:%'
          FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.objid
         WHERE d.classid = 'pg_proc'::regclass AND 'f' = ANY (changed)
           AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'pipeline_ext')
        UNION ALL
        SELECT 'T', 'TYPE', t.oid::regtype::text, t.typacl, t.typowner, false
          FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_type t ON t.oid = d.objid
         WHERE d.classid = 'pg_type'::regclass AND 'T' = ANY (changed) AND t.typelem = 0
           AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'pipeline_ext')
        UNION ALL
        SELECT 'n', 'SCHEMA', n.nspname::text, n.nspacl, n.nspowner, false
          FROM pg_catalog.pg_namespace n WHERE n.nspname = 'pipelinedb' AND 'n' = ANY (changed)
    LOOP
        FOR grantee IN SELECT DISTINCT a.grantee FROM aclexplode(member.acl) a
                        WHERE a.grantee <> member.owner LOOP
            EXECUTE format('REVOKE ALL ON %s %s FROM %s', member.word, member.name,
                CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END);
        END LOOP;
        IF member.kind = 'v' THEN
            EXECUTE format('GRANT SELECT ON %s TO PUBLIC', member.name);
        ELSIF member.kind = 'f' AND NOT coalesce(member.internal, false) THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', member.name);
        ELSIF member.kind IN ('T', 'n') THEN
            EXECUTE format('GRANT USAGE ON %s %s TO PUBLIC', member.word, member.name);
        END IF;
    END LOOP;
END $$;
