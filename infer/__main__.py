"""`python -m infer`: the command, where scripts are not on the PATH."""

from infer.cli import main

if __name__ == "__main__":
    main()
