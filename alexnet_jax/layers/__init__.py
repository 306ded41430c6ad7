"""What networks are made of: definitions that a student can read."""
