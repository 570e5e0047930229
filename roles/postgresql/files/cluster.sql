-- The statements that make the cluster's roles, memberships and databases as wanted: a JSON object
-- each, in order; none when nothing differs. Changes nothing. psql gives :databases, a JSON list, and
-- :vault, the connections that the account may hold.
WITH wanted_database (name) AS (
  SELECT json_array_elements_text(:'databases')
), wanted_role (name, attributes) AS (
  SELECT name || suffix,
    'NOLOGIN INHERIT NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS CONNECTION LIMIT -1'
  FROM wanted_database, unnest(ARRAY['_owner', '_migrate', '_app']) AS suffix
  UNION ALL SELECT 'vault',
    'LOGIN INHERIT NOSUPERUSER CREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS CONNECTION LIMIT ' || :'vault'
), found_role (name, attributes) AS (
  SELECT rolname, concat_ws(' ',
    CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
    CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
    CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
    CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
    CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
    CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
    'CONNECTION LIMIT ' || rolconnlimit)
  FROM pg_roles
), wanted_membership (role, member, options) AS (
  -- It may give these to the logins that it makes; to use them is not its business.
  SELECT name || suffix, 'vault', 'ADMIN TRUE, INHERIT FALSE, SET FALSE'
  FROM wanted_database, unnest(ARRAY['_migrate', '_app']) AS suffix
  -- A migration becomes the owner, so that nothing belongs to a login that is gone tomorrow.
  UNION ALL SELECT name || '_owner', name || '_migrate', 'ADMIN FALSE, INHERIT FALSE, SET TRUE'
  FROM wanted_database
  -- A service that takes every connection must not keep Vault from revoking its login.
  UNION ALL VALUES ('pg_use_reserved_connections', 'vault', 'ADMIN FALSE, INHERIT TRUE, SET FALSE')
), found_membership (role, member, options, grantor) AS (
  SELECT role.rolname, member.rolname,
    format('ADMIN %s, INHERIT %s, SET %s', upper(admin_option::text), upper(inherit_option::text),
           upper(set_option::text)),
    grantor.rolname
  FROM pg_auth_members AS found
  JOIN pg_roles AS role ON role.oid = found.roleid
  JOIN pg_roles AS member ON member.oid = found.member
  JOIN pg_roles AS grantor ON grantor.oid = found.grantor
), wanted_privilege (database, grantee, privilege) AS (
  SELECT name, quote_ident(name || suffix), privilege
  FROM wanted_database, (VALUES ('_app', 'CONNECT'), ('_migrate', 'CONNECT'),
                                ('_owner', 'CREATE'), ('_owner', 'TEMPORARY')) AS each (suffix, privilege)
  -- Roles are of the whole cluster: the account needs no database with data in it.
  UNION ALL VALUES ('postgres', 'vault', 'CONNECT')
), found_privilege (database, grantee, privilege) AS (
  SELECT datname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    privilege_type
  FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
  WHERE grantee <> datdba AND datname <> 'template0'
), statement (position, text) AS (
  SELECT 1, format('CREATE ROLE %I %s', name, attributes) FROM wanted_role
  WHERE name NOT IN (SELECT name FROM found_role)
  UNION ALL
  SELECT 2, format('ALTER ROLE %I %s', name, wanted_role.attributes)
  FROM wanted_role JOIN found_role USING (name) WHERE wanted_role.attributes <> found_role.attributes
  UNION ALL
  -- What the makers of logins grant themselves, and what anybody granted.
  SELECT 3, format('REVOKE %I FROM %I GRANTED BY %I CASCADE', role, member, grantor)
  FROM found_membership AS found
  WHERE member IN (SELECT name FROM wanted_role)
    AND NOT (grantor = 'postgres' AND EXISTS (
      SELECT FROM wanted_membership AS wanted WHERE wanted.role = found.role AND wanted.member = found.member))
    -- The logins that vault has made.
    AND NOT (member = 'vault' AND role <> 'postgres' AND role NOT LIKE 'pg\_%'
             AND role NOT IN (SELECT name FROM wanted_role))
  UNION ALL
  SELECT 4, format('GRANT %I TO %I WITH %s', role, member, options) FROM wanted_membership AS wanted
  WHERE NOT EXISTS (
    SELECT FROM found_membership AS found
    WHERE found.role = wanted.role AND found.member = wanted.member AND found.options = wanted.options
      AND grantor = 'postgres')
  UNION ALL
  SELECT 5, format('CREATE DATABASE %I OWNER postgres TEMPLATE template0', name) FROM wanted_database
  WHERE name NOT IN (SELECT datname FROM pg_database)
  UNION ALL
  -- Not its owner role: a migration must not drop it, or change its settings.
  SELECT 6, format('ALTER DATABASE %I OWNER TO postgres', datname) FROM pg_database
  WHERE datname IN (SELECT name FROM wanted_database) AND pg_get_userbyid(datdba) <> 'postgres'
  UNION ALL
  SELECT 7, format('REVOKE ALL ON DATABASE %I FROM PUBLIC', name) FROM wanted_database
  WHERE name NOT IN (SELECT datname FROM pg_database)
  UNION ALL
  SELECT 7, format('REVOKE %s ON DATABASE %I FROM %s', privilege, database, grantee)
  FROM found_privilege AS found
  WHERE (grantee = 'PUBLIC' OR database IN ('postgres', 'template1')
         OR database IN (SELECT name FROM wanted_database))
    AND NOT EXISTS (SELECT FROM wanted_privilege AS wanted
                    WHERE (wanted.database, wanted.grantee, wanted.privilege)
                        = (found.database, found.grantee, found.privilege))
  UNION ALL
  SELECT 8, format('GRANT %s ON DATABASE %I TO %s', privilege, database, grantee)
  FROM (SELECT * FROM wanted_privilege EXCEPT SELECT * FROM found_privilege) AS missing
  UNION ALL
  -- Settings of a role or a database win over the configuration.
  SELECT 9, CASE
      WHEN setrole = 0 THEN format('ALTER DATABASE %I RESET ALL', datname)
      WHEN setdatabase = 0 THEN format('ALTER ROLE %I RESET ALL', pg_get_userbyid(setrole))
      ELSE format('ALTER ROLE %I IN DATABASE %I RESET ALL', pg_get_userbyid(setrole), datname)
    END
  FROM pg_db_role_setting LEFT JOIN pg_database ON pg_database.oid = setdatabase
  WHERE setrole = 0 OR pg_get_userbyid(setrole) IN (SELECT name FROM wanted_role UNION SELECT 'postgres')
)
SELECT json_build_object('database', 'postgres', 'statement', text) FROM statement ORDER BY position, text;
