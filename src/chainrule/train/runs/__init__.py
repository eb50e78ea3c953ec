"""Runs: recipes carried out in a folder, by the command line or from Python."""
