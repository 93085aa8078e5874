"""Released checkpoints and pretrained base models, brought into pipeline folders."""
