"""Data: procedural rooms, Matterport3D panoramas and folders of views."""
