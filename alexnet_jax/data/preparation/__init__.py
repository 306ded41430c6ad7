"""From the original files to a prepared copy: TFDS without TensorFlow.

`builder` prepares small data sets with TFDS's own writer and decodes them into memory;
`shards` writes large ones from `sources` in `workers`; `jpeg` converts each image. Only
`data` imports this package.
"""
