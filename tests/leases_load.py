"""Work with a database through holdfast.leases for a while, on a host; print what happened as JSON.

Arguments: the folder that holdfast lies in, the file with the login, seconds, and how many at a
time: threads, and as many coroutines.
"""

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from holdfast.leases.pool import AsyncPool, Pool

PATH = Path(sys.argv[2])
UNTIL = time.monotonic() + float(sys.argv[3])
MANY = int(sys.argv[4])
SIZE = {"min_size": MANY, "max_size": MANY}
# Someone who thinks between two statements of a transaction.
QUERY = "SELECT current_user, pg_sleep(0.02)"

queries, failed, logins = [], [], []


def note(began, user):
    queries.append(time.monotonic() - began)
    if user not in logins:
        logins.append(user)


def failure(error):
    failed.append([round(UNTIL - time.monotonic(), 1), type(error).__name__, str(error)])
    time.sleep(0.2)


def thread(pool):
    while time.monotonic() < UNTIL:
        began = time.monotonic()
        try:
            with pool.connection() as connection:
                user = connection.execute(QUERY).fetchone()[0]
                connection.execute("SELECT 1")
        except Exception as error:  # noqa: BLE001  (whatever a caller would have seen)
            failure(error)
        else:
            note(began, user)


async def coroutine(pool):
    while time.monotonic() < UNTIL:
        began = time.monotonic()
        try:
            async with pool.connection() as connection:
                user = (await (await connection.execute(QUERY)).fetchone())[0]
        except Exception as error:  # noqa: BLE001  (whatever a caller would have seen)
            failure(error)
        else:
            note(began, user)


async def coroutines():
    pool = AsyncPool(PATH, **SIZE)
    await pool.open()
    await asyncio.gather(*(coroutine(pool) for _ in range(MANY)))
    await pool.close()


def main():
    pool = Pool(PATH, **SIZE)
    pool.open()
    threads = [threading.Thread(target=thread, args=[pool]) for _ in range(MANY)]
    for one in threads:
        one.start()
    asyncio.run(coroutines())
    for one in threads:
        one.join()
    pool.close()
    print(
        json.dumps(
            {
                "queries": len(queries),
                "slowest": max(queries, default=0),
                "failed": failed,
                "logins": logins,
            }
        )
    )


main()
