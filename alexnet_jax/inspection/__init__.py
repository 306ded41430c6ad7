"""Looking at networks and steps: layers, collectives, towers, NaN."""
