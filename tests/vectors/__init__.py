"""How the frozen vectors are made: generators, and provers that cheat. Not part of the installed package."""
