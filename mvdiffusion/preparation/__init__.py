"""Real data: fetched, checked and brought into the layouts that training and evaluation read."""
