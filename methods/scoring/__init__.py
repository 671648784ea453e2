"""From a reconstruction to a number per image: discrepancy, smoothing, pooling, density."""
