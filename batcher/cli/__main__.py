"""`python -m batcher.cli`: the same command, for places where the script is not on the path."""

from batcher.cli import main

if __name__ == "__main__":
    main()
