//go:build tools

package wrapper

import ( // keeps what the three commands need in go.mod
	_ "github.com/hashicorp/vault"
	_ "github.com/hashicorp/vault/builtin/credential/aws/cmd/aws"
	_ "github.com/hashicorp/vault/plugins/database/postgresql/postgresql-database-plugin"
)
