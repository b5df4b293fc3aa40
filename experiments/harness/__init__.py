"""The common parts of the commands: building from configuration, run folders, tracking, figures."""
