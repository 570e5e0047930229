"""Logins leased from Vault, for services on hosts that use them: PostgreSQL without a password.

Runs where the services run: needs the standard library and Debian's python3-psycopg and
python3-psycopg-pool, and imports nothing of the operator's side.
"""
