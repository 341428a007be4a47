"""The VGG networks: architecture, pretrained weights and their files, normalization."""
