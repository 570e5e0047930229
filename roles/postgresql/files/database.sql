-- The statements that make one database as wanted inside: a JSON object each, in order; none when
-- nothing differs. Changes nothing. To be asked in that database.
WITH named (owner, app) AS (
  SELECT current_database() || '_owner', current_database() || '_app'
), wanted_schema (name) AS (
  VALUES ('public'), ('journal')
), found_schema AS (
  SELECT oid, nspname AS name, nspowner AS owner, nspacl AS acl FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), found_schema_privilege (schema, grantee, privilege) AS (
  SELECT name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    privilege_type
  FROM found_schema, aclexplode(coalesce(acl, acldefault('n', owner)))
  WHERE grantee <> owner
), wanted_default (schema, objects, grantee, privilege) AS (
  SELECT schema, objects, quote_ident(app), privilege
  FROM named, (VALUES
    ('public', 'TABLES', 'SELECT'), ('public', 'TABLES', 'INSERT'), ('public', 'TABLES', 'UPDATE'),
    ('public', 'TABLES', 'DELETE'), ('public', 'SEQUENCES', 'USAGE'), ('public', 'SEQUENCES', 'SELECT'),
    ('public', 'FUNCTIONS', 'EXECUTE'),
    -- What is written there stays as it was written.
    ('journal', 'TABLES', 'INSERT'), ('journal', 'SEQUENCES', 'USAGE')
  ) AS each (schema, objects, privilege)
), owned_default AS (
  SELECT coalesce(nspname, '') AS schema, defaclobjtype AS letter, defaclacl AS acl, defaclrole AS owner
  FROM pg_default_acl LEFT JOIN pg_namespace ON pg_namespace.oid = defaclnamespace
  WHERE pg_get_userbyid(defaclrole) = (SELECT owner FROM named)
), found_default (schema, objects, grantee, privilege) AS (
  SELECT schema, objects, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    privilege_type
  FROM owned_default
  JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('f', 'FUNCTIONS'), ('n', 'SCHEMAS'))
    AS kind (kind_letter, objects) ON kind_letter = letter::text,
  aclexplode(acl)
  WHERE grantee <> owner
  -- Where nothing is said, everybody may call what a migration makes.
  UNION ALL SELECT '', 'FUNCTIONS', 'PUBLIC', 'EXECUTE'
  WHERE NOT EXISTS (SELECT FROM owned_default WHERE schema = '' AND letter = 'f')
), found_privilege (schema, object, kind, grantee, privilege) AS (
  SELECT name, format('%I.%I', name, relname), CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type
  FROM found_schema
  JOIN pg_class ON relnamespace = found_schema.oid,
  -- Of the table, and of each of its columns.
  LATERAL (SELECT relacl UNION SELECT attacl FROM pg_attribute WHERE attrelid = pg_class.oid) AS each (acl),
  aclexplode(each.acl)
  WHERE grantee <> relowner
), statement (position, text) AS (
  SELECT 1, format('CREATE SCHEMA %I AUTHORIZATION %I', name, owner) FROM wanted_schema, named
  WHERE name NOT IN (SELECT name FROM found_schema)
  UNION ALL
  SELECT 2, format('ALTER SCHEMA %I OWNER TO %I', name, named.owner) FROM found_schema, named
  WHERE name IN (SELECT name FROM wanted_schema) AND pg_get_userbyid(found_schema.owner) <> named.owner
  UNION ALL
  SELECT 3, format('REVOKE %s ON SCHEMA %I FROM %s', privilege, schema, grantee)
  FROM found_schema_privilege, named
  WHERE grantee = 'PUBLIC' OR (grantee = quote_ident(app) AND privilege = 'CREATE')
    OR (schema IN (SELECT name FROM wanted_schema) AND grantee <> quote_ident(app))
  UNION ALL
  SELECT 4, format('GRANT USAGE ON SCHEMA %I TO %I', name, app) FROM wanted_schema, named
  WHERE (name, quote_ident(app), 'USAGE') NOT IN (SELECT * FROM found_schema_privilege)
  UNION ALL
  SELECT 5, concat_ws(' ', format('ALTER DEFAULT PRIVILEGES FOR ROLE %I', owner),
                      'IN SCHEMA ' || nullif(schema, ''),
                      format('REVOKE %s ON %s FROM %s', privilege, objects, grantee))
  FROM named, (SELECT * FROM found_default EXCEPT SELECT * FROM wanted_default) AS unwanted
  WHERE schema IN ('', 'public', 'journal')
  UNION ALL
  SELECT 6, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT %s ON %s TO %s', owner, schema,
                   privilege, objects, grantee)
  FROM named, (SELECT * FROM wanted_default EXCEPT SELECT * FROM found_default) AS missing
  UNION ALL
  SELECT DISTINCT 7, format('REVOKE %s ON %s %s FROM %s', privilege, kind, object, grantee)
  FROM found_privilege, named
  WHERE grantee IN ('PUBLIC', 'vault')
    OR (grantee = quote_ident(app) AND privilege <> ALL (CASE
          WHEN kind = 'SEQUENCE' THEN ARRAY['USAGE', 'SELECT']
          WHEN schema = 'journal' THEN ARRAY['INSERT', 'SELECT']
          ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] END))
  UNION ALL
  -- Else a login could own something, and could not be dropped.
  SELECT 8, format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', pg_proc.oid::regprocedure)
  FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
  WHERE pronamespace = 'pg_catalog'::regnamespace AND grantee = 0
    AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import')
)
SELECT json_build_object('database', current_database(), 'statement', text)
FROM statement ORDER BY position, text;
