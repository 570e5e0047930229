//go:build minimal

package main

const edition = "minimal"
