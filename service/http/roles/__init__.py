"""What each role is made of: ``verifier`` for both, ``hub`` besides. A role lists domains and runs what they need."""
