"""Names the processes that still run code of a library or program that was replaced.

stdin of python3, as root. Prints a JSON list of {"pid", "program", "files"}.
"""

import json
from pathlib import Path

CODE = ("/usr/lib/", "/lib/", "/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/local/", "/opt/")

found = []
for process in Path("/proc").glob("[0-9]*"):
    try:
        maps = (process / "maps").read_text(errors="replace")
        program = (process / "comm").read_text().strip()
    except OSError:
        continue  # it ended meanwhile
    gone = {
        line.split(None, 5)[5].removesuffix(" (deleted)")
        for line in maps.splitlines()
        if line.endswith(" (deleted)") and "x" in line.split(None, 2)[1]
    }
    files = sorted(path for path in gone if path.startswith(CODE))
    if files:
        found.append({"pid": int(process.name), "program": program, "files": files})
print(json.dumps(found))
