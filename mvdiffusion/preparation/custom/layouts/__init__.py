"""How tools lay out RGB-D recordings: each layout is recognized, and read or named."""
