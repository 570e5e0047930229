DO $revoke$
DECLARE
  lease CONSTANT name := '{{name}}';
  granted name;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = lease) THEN
    RETURN;
  END IF;
  -- To be allowed to close its sessions.
  EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT TRUE, SET FALSE', lease);
  PERFORM pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = lease;
  BEGIN
    EXECUTE format('DROP ROLE %I', lease);
  EXCEPTION WHEN dependent_objects_still_exist THEN
    -- It has left something in a database. What stays of it can neither log in nor do anything.
    EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL', lease);
    FOR granted IN
      SELECT rolname FROM pg_auth_members AS membership JOIN pg_roles AS role ON role.oid = membership.roleid
      WHERE membership.member = (SELECT oid FROM pg_roles WHERE rolname = lease)
    LOOP
      EXECUTE format('REVOKE %I FROM %I', granted, lease);
    END LOOP;
  END;
END
$revoke$;
