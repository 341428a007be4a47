"""Images on the host: reading, writing, resizing, color. Without jax."""
