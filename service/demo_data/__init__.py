"""The demo's figures: one real account and its prices at one instant; sources are named in each file."""
