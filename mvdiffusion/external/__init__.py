"""External methods: installing, running, importing and checking what others have published.

A method runs in an environment and in processes of its own. Nothing of it is imported here:
commands are started, files are moved, and pictures are read.
"""
