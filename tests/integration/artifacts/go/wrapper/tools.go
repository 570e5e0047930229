//go:build tools

package wrapper

import _ "golang.org/x/example/hello" // keeps the requirement
