"""`python -m stylejax`."""

from stylejax.cli import entry

if __name__ == "__main__":
    entry()
