"""What a person sees of a study: in a terminal, a notebook, a log."""
