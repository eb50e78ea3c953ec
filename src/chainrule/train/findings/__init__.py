"""What a finished training shows: findings, each with its cause and remedy."""
