"""A packaged model at work: many images through it, what is written of them, and a server."""
