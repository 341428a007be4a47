"""Style transfer, and reconstruction of content and style, of one image."""
