"""The certification authority for devices: a library, later a command line."""
