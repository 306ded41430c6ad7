"""From the original files to a prepared copy: TFDS without TensorFlow.

`prepared` is the door: it opens a copy, and has it prepared if it is missing or
`damage` finds a fault, by one process (`lock`). `builder` prepares small data sets with
TFDS's own writer and decodes them into memory; `shards` writes large ones from
`sources` in `workers`; `jpeg` converts each image. Only `data` imports this package.
"""
