"""Label-free numbers that say how good a detector is."""
