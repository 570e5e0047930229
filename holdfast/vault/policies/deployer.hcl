# What an operator may do for an hour after logging in: configure Vault, and read no secret in it.
# Whatever is not granted is denied. Changing this policy, or who logs in with it, takes a quorum:
# holdfast vault rotate-root --for set-up
#
# What remains, because who decides what others may read can decide it for themselves: an operator
# can write a policy holdfast-X that reads a secret, make an AppRole with it, and log in as that.
# These are three requests in the audit trail, and a policy that the next run of the site removes. An
# operator can also change the SQL that makes leased logins, and where the database is.

# --- looking ---
path "sys/audit" {
  capabilities = ["read", "sudo"]
}
path "sys/auth" {
  capabilities = ["read"]
}
path "sys/mounts" {
  capabilities = ["read"]
}
path "sys/policies/acl" {
  capabilities = ["list"]
}
path "sys/policies/acl/deployer" {
  capabilities = ["read"]
}
path "auth/cert/certs/operators" {
  capabilities = ["read"]
}
# Whose tokens there are, not what they are.
path "auth/token/accessors" {
  capabilities = ["list", "sudo"]
}
path "auth/token/accessors/" {
  capabilities = ["list", "sudo"]
}
path "auth/token/lookup-accessor" {
  capabilities = ["create", "update"]
}
path "sys/storage/raft/configuration" {
  capabilities = ["read"]
}
path "sys/storage/raft/autopilot/state" {
  capabilities = ["read"]
}

# --- the own login (the policy `default` is not attached to it) ---
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# --- nodes: taking a lost one out, and changing the leader before an upgrade ---
path "sys/storage/raft/remove-peer" {
  capabilities = ["update"]
}
path "sys/step-down" {
  capabilities = ["update", "sudo"]
}

# --- mounts: made and tuned, never removed. Their `config` is set by tuning, where what would write
# secrets into the audit trail in clear, or pass headers on, is denied. ---
path "sys/mounts/+" {
  capabilities      = ["create", "read", "update"]
  denied_parameters = {
    "config" = []
  }
}
path "sys/mounts/+/tune" {
  capabilities      = ["read", "update"]
  denied_parameters = {
    "audit_non_hmac_request_keys"  = []
    "audit_non_hmac_response_keys" = []
    "passthrough_request_headers"  = []
    "allowed_response_headers"     = []
  }
}
path "sys/auth/approle" {
  capabilities      = ["create", "read", "update", "sudo"]
  denied_parameters = {
    "config" = []
  }
}

# --- plugins: only the one for PostgreSQL, and nothing that changes how it is started ---
path "sys/plugins/catalog/database/postgresql-database-plugin" {
  capabilities      = ["create", "read", "update", "delete", "sudo"]
  denied_parameters = {
    "args" = []
    "env"  = []
  }
}
path "sys/plugins/reload/backend" {
  capabilities = ["update"]
}

# --- policies and identities of services and hosts ---
path "sys/policies/acl/holdfast-*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "auth/approle/role" {
  capabilities = ["list"]
}
# No `*` here: it would outrank the next rules and hand out secret ids that are not wrapped.
path "auth/approle/role/+" {
  capabilities = ["create", "read", "update", "delete"]
}
path "auth/approle/role/+/role-id" {
  capabilities = ["read"]
}
path "auth/approle/role/+/secret-id" {
  capabilities     = ["create", "update"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "10m"
}
path "auth/approle/role/+/secret-id-accessor/destroy" {
  capabilities = ["create", "update"]
}

# --- certificates for servers: issuers and roles. Keys are made inside and never exported; nothing
# here issues or signs a certificate. ---
path "pki-servers/issuers/generate/intermediate/internal" {
  capabilities = ["create", "update"]
}
path "pki-servers/intermediate/generate/internal" {
  capabilities = ["create", "update"]
}
path "pki-servers/intermediate/set-signed" {
  capabilities = ["create", "update"]
}
path "pki-servers/issuers/import/cert" {
  capabilities = ["create", "update"]
}
path "pki-servers/issuers" {
  capabilities = ["list"]
}
path "pki-servers/issuer/+" {
  capabilities = ["create", "read", "update", "delete"]
}
path "pki-servers/keys" {
  capabilities = ["list"]
}
path "pki-servers/config/issuers" {
  capabilities = ["create", "read", "update"]
}
path "pki-servers/config/keys" {
  capabilities = ["read"]
}
path "pki-servers/config/urls" {
  capabilities = ["create", "read", "update"]
}
path "pki-servers/config/crl" {
  capabilities = ["create", "read", "update"]
}
path "pki-servers/config/auto-tidy" {
  capabilities = ["create", "read", "update"]
}
path "pki-servers/roles" {
  capabilities = ["list"]
}
path "pki-servers/roles/holdfast-*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "pki-servers/certs" {
  capabilities = ["list"]
}
path "pki-servers/cert/+" {
  capabilities = ["read"]
}
path "pki-servers/revoke" {
  capabilities = ["create", "update"]
}
path "pki-servers/crl/rotate" {
  capabilities = ["read"]
}
path "pki-servers/tidy" {
  capabilities = ["create", "update"]
}
path "pki-servers/tidy-status" {
  capabilities = ["read"]
}

# --- leased logins: where the database is, and what a login may do there; none is read ---
path "database/config" {
  capabilities = ["list"]
}
path "database/config/+" {
  capabilities      = ["create", "read", "update", "delete"]
  denied_parameters = {
    "root_rotation_statements" = []
  }
}
path "database/rotate-root/+" {
  capabilities = ["create", "update"]
}
path "database/reset/+" {
  capabilities = ["create", "update"]
}
path "database/roles" {
  capabilities = ["list"]
}
path "database/roles/+" {
  capabilities = ["create", "read", "update", "delete"]
}
# All logins of a role ended at once: for a database that somebody got into.
path "sys/leases/revoke-prefix/database/creds/+" {
  capabilities = ["update", "sudo"]
}
