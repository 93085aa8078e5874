"""`python -m mvdiffusion.cli` is `mvdiffusion`."""

from mvdiffusion.cli import main

main()
