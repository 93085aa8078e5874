"""Scores folders of images against one another; knows nothing about the models that made them.

Where things happen: `folders` reads, `metrics/` measures, `protocols` says what is measured on
what, `scoring` runs protocols on a folder, `claims` decides, `tables`, `figures`, `report` show.
"""
