"""Scores folders of images against one another; knows nothing about the models that made them.

Where things happen: `folders` reads, `metrics/` measures, `quality`, `panorama`, `outpaint`,
`depth` and `controls` say what is measured on what (the protocols), `scoring` runs them on a
folder, `claims` decides, `tables`, `figures`, `report` show.
"""
