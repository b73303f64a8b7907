"""The frozen vectors, one folder for each wire version."""
