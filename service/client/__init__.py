"""The client library of a hub, for holders and venues: typed, sync and async."""
