"""What rows cost: prices, and the cost of one reply. Pure; unknown is None, never 0."""
