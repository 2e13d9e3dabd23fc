"""What measures the pipeline: a source that is never the bottleneck, and the peers that move the same documents."""
