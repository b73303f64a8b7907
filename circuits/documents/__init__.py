"""Documents that carry a statement: their models, and the way from a validated one to integers."""
