"""`python -m eval` is the console command `mvdiffusion-eval`."""

from .cli import main

main()
