"""`python -m mvdiffusion.parallel COMMAND ...` runs a command with a GPU of its own, if any."""

import os
import sys

from mvdiffusion.parallel import gpus
from mvdiffusion.records import reporting_input_errors

if __name__ == "__main__":
    with reporting_input_errors("mvdiffusion.parallel"):
        gpus.take_gpus(1)
        for file in gpus.held:
            os.set_inheritable(file, True)  # the slot is the command's, which takes this place
        os.execvp(sys.argv[1], sys.argv[1:])
