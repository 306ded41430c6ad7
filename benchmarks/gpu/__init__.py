"""What to measure in the first minutes on a GPU: suites of parts, each bounded in time.

`runner` performs the parts of a suite (`suites`), each in a process of its own, `part`,
which imports one of the other modules and writes what its `measure` yields. Only these
import JAX, so that no other process holds the GPU.
"""
