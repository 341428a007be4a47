"""VGG networks: architecture, pretrained weights, their file formats, and normalization."""
