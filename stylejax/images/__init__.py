"""Images on the host: read, write, resize and recolor. Nothing here imports jax."""
