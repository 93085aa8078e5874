"""Methods that make a panorama as one picture, of which the views are cut."""
