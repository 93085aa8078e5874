"""`python -m mvdiffusion` is `mvdiffusion`."""

from mvdiffusion.cli import main

main()
