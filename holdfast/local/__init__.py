"""Hosts on this machine: podman containers that boot systemd and are reached by SSH only."""
