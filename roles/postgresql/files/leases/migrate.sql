CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE "<database>_migrate";
ALTER ROLE "{{name}}" SET role = '<database>_owner';
