"""What networks are made of: definitions that a student can read.

`models/` builds networks from it; `inspection/` and the device layouts look into it. It
knows no network. What makes a layer quick on a CPU stands in `cpu/`, to which one line
of the layer leads.
"""
