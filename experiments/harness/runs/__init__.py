"""The folder of a run and all that is kept in it."""
