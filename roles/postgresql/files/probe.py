#!/usr/bin/python3
"""Look at PostgreSQL once and print as JSON what role postgresql decides by.

Reads a JSON object: sql (the texts of server.sql, cluster.sql and database.sql), databases (names),
vault_connections, files (that the server loads), unit (files that it starts with).

With the argument `apply` it also runs the statements that it found, until none is left.
"""

import json
import pwd
import subprocess
import sys
from pathlib import Path

_DATA = Path("/var/lib/postgresql/17/main")
_PSQL = Path("/usr/lib/postgresql/17/bin/psql")
_AS_POSTGRES = ["/usr/sbin/runuser", "--user=postgres", "--", _PSQL, "-XAtq"]
_AS_POSTGRES += ["--host=/run/postgresql", "--dbname=postgres", "--set=ON_ERROR_STOP=1"]
_GIB = 1024
_NO_CONNECTION = 2
# New databases come first, what is inside them second; the third round finds nothing.
_ROUNDS = 3
_THERE = r"""
\set name NAME
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'name') AS there \gset
\if :there
\connect :name
"""


def _number(path):
    text = Path(path).read_text().strip() if Path(path).exists() else "max"
    return None if text == "max" else int(text)


def _memory():
    """MiB that there are, rounded so that a new kernel does not change it."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    mib = min(total, _number("/sys/fs/cgroup/memory.max") or total) / 2**20
    step = _GIB if mib >= 2 * _GIB else _GIB // 4
    return max(round(mib / step), 1) * step


def _cluster():
    """What lies where the cluster should: its version, and whether it belongs to this postgres."""
    if not _DATA.exists():
        return {"version": "", "filled": False, "owned": True}
    version = _DATA / "PG_VERSION"
    try:
        owned = _DATA.stat().st_uid == pwd.getpwnam("postgres").pw_uid
    except KeyError:
        owned = False
    return {
        "version": version.read_text().strip() if version.exists() else "",
        "filled": any(_DATA.iterdir()),
        "owned": owned,
    }


def _psql(script, variables):
    """Run a script as postgres; None where no server lets it in. Raises on any other failure."""
    settings = [f"--set={name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        [*_AS_POSTGRES, *settings],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PGAPPNAME": "holdfast", "PGCONNECT_TIMEOUT": "30"},
    )
    if done.returncode == _NO_CONNECTION:
        return None
    if done.returncode != 0:
        sys.exit(f"PostgreSQL refused what role postgresql asks: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _ask(question):
    """What the server is, and the statements that it needs."""
    if not _PSQL.exists():
        return None
    sql = question["sql"]
    script = sql["server"] + sql["cluster"]
    for name in question["databases"]:
        script += _THERE.replace("NAME", name) + sql["database"] + "\\endif\n"
    variables = {
        "databases": json.dumps(question["databases"]),
        "vault": question["vault_connections"],
    }
    rows = _psql(script, variables)
    return None if rows is None else {**rows[0], "plan": rows[1:]}


def _apply(question):
    """Run what is needed; what is left afterwards stays in the plan."""
    done = []
    for _ in range(_ROUNDS):
        server = _ask(question)
        if server is None or not server["plan"]:
            break
        script = "".join(
            f"\\connect {step['database']}\n{step['statement']};\n" for step in server["plan"]
        )
        _psql(script, {})
        done += server["plan"]
    return done


def _younger(paths, than):
    # Not st_mtime: a copied file may bring the time of the operator's clock.
    return [path for path in paths if Path(path).exists() and Path(path).stat().st_ctime > than]


def main():
    """Print the answer."""
    question = json.load(sys.stdin)
    done = _apply(question) if sys.argv[1:] == ["apply"] else []
    server = _ask(question)
    answer = {"memory_mb": _memory(), "cluster": _cluster(), "server": server, "done": done}
    if server is not None:
        server["unloaded"] = _younger(question["files"], server["loaded"])
        server["unstarted"] = _younger(question["unit"], server["started"])
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
