#!/usr/bin/python3 -I
"""Print every line of Vault's audit log, over rotations and restarts, for the journal.

How far it has come is kept in STATE_DIRECTORY, after each batch: a kill may repeat a batch's lines,
and loses none. A rotated log is read to its end before the new one.
"""

import json
import os
import sys
import time
from pathlib import Path

LOG = Path("/var/log/vault/audit.log")
PAUSE = 1.0  # seconds
_BATCH = 1024**2  # bytes


class Follower:
    """The log that is read now, and how far."""

    def __init__(self, log, position, out):
        self._log = log
        self._position = position
        self._out = out
        self._stream = self._resumed()

    def step(self):
        """Print what there is; whether there was anything."""
        if self._stream is None:
            return self._next()
        told = self._tell()
        if told or not self._replaced():
            return told
        # Vault writes into the new log: what it wrote into the old one before is all there by now.
        return self._tell() or self._next()

    def _tell(self):
        """Print the next whole lines."""
        begin = self._stream.tell()
        if os.fstat(self._stream.fileno()).st_size < begin:  # somebody cut it off
            begin = self._stream.seek(0)
        batch = self._stream.read(_BATCH)
        while batch and b"\n" not in batch and (more := self._stream.read(_BATCH)):
            batch += more
        lines = batch[: batch.rfind(b"\n") + 1]
        self._stream.seek(begin + len(lines))
        if not lines:
            return False
        self._out.write(lines)
        self._out.flush()
        self._keep()
        return True

    def _replaced(self):
        try:
            found = self._log.stat().st_ino
        except FileNotFoundError:
            return False  # moved away, and not opened again yet
        return found != os.fstat(self._stream.fileno()).st_ino

    def _next(self):
        """Open the log from its beginning; whether it is there."""
        if self._stream:
            self._stream.close()
        try:
            self._stream = self._log.open("rb", buffering=0)
        except FileNotFoundError:
            self._stream = None
            return False
        self._keep()
        return True

    def _resumed(self):
        """The log where it was left, even if it was rotated once since."""
        try:
            kept = json.loads(self._position.read_bytes())
        except FileNotFoundError:
            return None
        for path in (self._log.with_name(f"{self._log.name}.1"), self._log):
            try:
                stream = path.open("rb", buffering=0)
            except FileNotFoundError:
                continue
            found = os.fstat(stream.fileno())
            if found.st_ino == kept["inode"] and found.st_size >= kept["offset"]:
                stream.seek(kept["offset"])
                return stream
            stream.close()
        print("<4>The log that was read last is gone: lines may be missing here.", file=sys.stderr)
        return None

    def _keep(self):
        inode = os.fstat(self._stream.fileno()).st_ino
        temporary = self._position.with_suffix(".new")
        temporary.write_text(json.dumps({"inode": inode, "offset": self._stream.tell()}))
        temporary.rename(self._position)


def main():
    """Follow the log for ever."""
    position = Path(os.environ["STATE_DIRECTORY"]) / "position.json"
    follower = Follower(LOG, position, sys.stdout.buffer)
    while True:
        if not follower.step():
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
