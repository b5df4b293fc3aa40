"""The commands as programs: their command line, signals and terminal."""
