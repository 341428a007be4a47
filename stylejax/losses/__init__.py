"""The losses of the paper and what they are compared with: equations 1 to 7."""
