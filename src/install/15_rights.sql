-- Who may do what with the extension's own objects, whatever default privileges say.

-- Members of pg_write_all_data may write every table but the server's own catalogs
-- (aclchk.c: pg_class_aclmask_ext). The fold worker believes these tables, so for them they are
-- like catalogs. Own writes go below the executor and fire no trigger.
CREATE FUNCTION pipelinedb.guard_catalog() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = current_user AND r.rolsuper) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('permission denied for table %s', TG_TABLE_NAME),
            DETAIL = 'Only superusers may change the tables of extension pipeline_ext by hand.';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION pipelinedb.guard_catalog() IS 'internal: refuses changes to the tables of the extension, but by superusers';

-- For each table, also for spool tables that are created later: default privileges of whoever
-- creates them (ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ...) must not open it.
CREATE FUNCTION pipelinedb.protect(relation regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
          FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.oid = relation AND a.grantee <> c.relowner LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', relation, grantee);
    END LOOP;
    IF EXISTS (SELECT FROM pg_class c WHERE c.oid = relation AND c.relkind = 'r') THEN
        EXECUTE format('CREATE TRIGGER guard_catalog BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION pipelinedb.guard_catalog()', relation);
    END IF;
END $$;
COMMENT ON FUNCTION pipelinedb.protect(regclass) IS 'internal: keeps everybody but superusers out of a table of the extension';

-- Called once, when all objects exist. Whoever may read a view needs functions and types of this
-- schema, also where default privileges withhold them from PUBLIC; the views show nobody what is
-- not his. Functions whose comment begins with "internal:" are for their owner alone. It is a
-- function so that search_path is pinned: what the install script itself calls with operators,
-- somebody's public.= (oid, regclass) would answer.
CREATE FUNCTION pipelinedb.set_rights() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    statement text;
BEGIN
    PERFORM pipelinedb.protect(c.oid) FROM pg_class c
      WHERE c.relnamespace = 'pipelinedb'::regnamespace AND c.relkind IN ('r', 'S')
        AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'guard_catalog');
    FOR statement IN
        SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', o.name,
                 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
          FROM (SELECT 'SCHEMA pipelinedb', n.nspowner, n.nspacl
                  FROM pg_namespace n WHERE n.nspname = 'pipelinedb'
                UNION ALL
                SELECT c.oid::regclass::text, c.relowner, c.relacl
                  FROM pg_class c WHERE c.relnamespace = 'pipelinedb'::regnamespace AND c.relkind = 'v'
                UNION ALL
                SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
                  FROM pg_proc p WHERE p.pronamespace = 'pipelinedb'::regnamespace
                   AND obj_description(p.oid, 'pg_proc') LIKE 'internal:%') o (name, owner, acl), aclexplode(o.acl) a
         WHERE a.grantee <> o.owner LOOP
        EXECUTE statement;
    END LOOP;
    GRANT USAGE ON SCHEMA pipelinedb TO PUBLIC;
    FOR statement IN
        SELECT format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', p.oid::regprocedure)
          FROM pg_proc p WHERE p.pronamespace = 'pipelinedb'::regnamespace AND p.prokind IN ('f', 'a', 'p')
           AND obj_description(p.oid, 'pg_proc') NOT LIKE 'internal:%'
        UNION ALL
        SELECT format('GRANT SELECT ON %s TO PUBLIC', c.oid::regclass)
          FROM pg_class c WHERE c.relnamespace = 'pipelinedb'::regnamespace AND c.relkind = 'v'
        UNION ALL
        SELECT format('GRANT USAGE ON TYPE %s TO PUBLIC', t.oid::regtype)
          FROM pg_type t WHERE t.typnamespace = 'pipelinedb'::regnamespace AND t.typtype = 'b' AND t.typelem = 0 LOOP
        EXECUTE statement;
    END LOOP;
END $$;
COMMENT ON FUNCTION pipelinedb.set_rights() IS 'internal: gives the objects of the extension their privileges';
