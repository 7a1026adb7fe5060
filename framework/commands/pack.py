"""`ostinato pack`: a folder of recordings as webdataset shards."""
