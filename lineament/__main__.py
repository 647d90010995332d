"""`python -m lineament`: the same as the command `lineament`."""

from lineament.cli import main

if __name__ == "__main__":
    main()
