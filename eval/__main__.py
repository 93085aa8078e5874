"""`python -m eval` is the console command `mvdiffusion-eval`."""

from eval.cli import main

main()
