"""What trainings of several methods share: batches, losses, learning-rate schedules, embeddings.

No method lives here.
"""
