"""Continued pretraining with NeMo. Needs the standard library, numpy and pyyaml beside NeMo."""
