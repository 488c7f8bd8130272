"""Continued pretraining in one process with transformers: one GPU or a CPU."""
