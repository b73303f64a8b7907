"""What is proved: instruments, snapshots, margin rules, linear systems, statements. Pure integers, no I/O."""
