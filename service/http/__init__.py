"""The HTTP service: application, context, roles, and what stands around every request."""
