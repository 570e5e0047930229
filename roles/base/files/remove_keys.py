#!/usr/bin/python3 -I
"""Remove the keys that open an account, without following where the account's own links lead.

Takes the account's name.
"""

import os
import pwd
import sys

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def main(name):
    home = os.open(pwd.getpwnam(name).pw_dir, _FOLDER)
    try:
        folder = os.open(".ssh", _FOLDER, dir_fd=home)
    except OSError:  # a link, or something else that is no folder
        os.unlink(".ssh", dir_fd=home)
        return
    for file in ("authorized_keys", "authorized_keys2"):
        try:
            os.unlink(file, dir_fd=folder)
        except FileNotFoundError:
            continue


if __name__ == "__main__":
    main(sys.argv[1])
