"""A memory of pretrained features of normal images."""

from methods.patch_memory.method import PatchMemory

__all__ = ["PatchMemory"]
