"""HTTP calls, one module for each group. Each has a ``router`` of :class:`service.routing.StrictRoute` routes."""
