"""What operators see: metrics, and diagnostics on standard error."""
