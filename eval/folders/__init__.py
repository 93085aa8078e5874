"""Reading what a method wrote: layouts, manifests, samples, crops."""
