"""``python -m taskloom`` is the ``taskloom`` command."""

from taskloom.command import main

if __name__ == "__main__":
    main()
