"""A memory of filter responses of normal images."""

from methods.filter_memory.method import FilterMemory

__all__ = ["FilterMemory"]
