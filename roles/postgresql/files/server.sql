-- What the running server is, as one JSON object. Changes nothing.
SELECT json_build_object(
  'version', current_setting('server_version_num')::int / 10000,
  'checksums', current_setting('data_checksums'),
  'encoding', (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'postgres'),
  'started', extract(epoch FROM pg_postmaster_start_time()),
  'loaded', extract(epoch FROM pg_conf_load_time()),
  'running', (SELECT json_object_agg(name, setting) FROM pg_settings WHERE context = 'postmaster'),
  'superusers', (SELECT json_agg(rolname) FROM pg_roles WHERE rolsuper));
