"""The miniature's base model as it is shipped: half precision, hashes and a model card."""
