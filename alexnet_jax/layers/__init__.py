"""What networks are made of: definitions that a student can read.

`models/` builds networks from them; anything may import them, and they import no
network. What makes a layer quick on a CPU is in `cpu/`: one line of the layer leads
there.
"""
