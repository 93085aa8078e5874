"""Data that training and sampling read: panoramas, posed frames with depth, captions."""
