"""Image quality from the statistics of natural scenes, without a reference: BRISQUE and NIQE.

Their parameters are those that the Laboratory for Image and Video Engineering of the University of
Texas at Austin released; NOTICE.txt says on which terms.
"""
