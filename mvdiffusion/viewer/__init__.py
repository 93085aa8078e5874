"""Panoramas to look around in: the viewer of the results page and of every generated panorama.

Pannellum 2.5.7 (`pannellum/`, as published on npm; `origin.json` says where from) draws, and
`look_around.js` puts two methods beside one another or a divider between them. Pages open from
disk, where browsers do not let WebGL read image files: panoramas come as text inside scripts.
"""
