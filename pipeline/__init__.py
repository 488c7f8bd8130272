"""Runs language-model training studies on PBS, Slurm or this machine."""

__version__ = "0.1.0"
