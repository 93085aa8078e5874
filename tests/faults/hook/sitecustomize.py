"""Kills a command of the project at one of its renames, before or after the new name is there.

`FAULT_RENAME` is `<words>:<number>:<before or after>`: the command whose line holds the words dies
at its rename of that number. Python imports this file at its start from a folder on PYTHONPATH.
"""

import os
import signal
import sys

words, number, side = os.environ["FAULT_RENAME"].rsplit(":", 2)
left = int(number)


def deadly(rename):
    """A rename that ends the process when its turn has come."""

    def renamed(*arguments: object, **options: object) -> None:
        global left
        left -= 1
        if left == 0 and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*arguments, **options)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return renamed


if words in " ".join(sys.orig_argv) and "-m" in sys.orig_argv[:3]:
    os.rename, os.replace = deadly(os.rename), deadly(os.replace)
