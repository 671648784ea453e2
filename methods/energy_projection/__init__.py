"""Iterative energy-based projection, the method `energy-projection`."""

from methods.energy_projection.method import EnergyProjection

__all__ = ["EnergyProjection"]
