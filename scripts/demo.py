"""Style the demo's photograph from a bare clone: `python3 scripts/demo.py [options of stylejax demo]`."""

import sys

from _environment import ensure, run

if __name__ == "__main__":
    ensure("pretrained")
    sys.exit(run("stylejax", "demo", *sys.argv[1:]))
