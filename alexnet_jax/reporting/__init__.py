"""What people read of runs and trained networks: reports, figures, tables, texts.

Only commands and `train`, which draws the learning curves, import this room.
"""
