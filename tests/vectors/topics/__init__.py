"""Cases by topic: what is right, and every fault that shows in bytes."""
