"""Phase 2 of a study: train one arm's model and export it.

`hf/` trains on one GPU or on a CPU with transformers, `nemo/` on eight A100s with NeMo; both read
the same resolved configuration and write the same files (docs/payloads.md).
"""
