"""The argument: what is proved, its public claim, and one folder for each version of rounds and proof encoding."""
