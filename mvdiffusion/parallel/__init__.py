"""One command in several processes, each with a GPU of its own where there are GPUs.

`--processes N` starts the command N times more, as `accelerate launch` and `torchrun` do: every
process finds its number in RANK and how many there are in WORLD_SIZE. So those start it as well.
"""
