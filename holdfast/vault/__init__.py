"""Vault from the operators' side: brought to life, opened, watched, given new keys."""
