"""Style transfer and reconstruction of one image, from coarse to fine."""
