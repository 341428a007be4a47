"""Records of a run: environment, provenance, manifest, checkpoint, event log."""
