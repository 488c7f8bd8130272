"""Phase 1, data preparation: text in, token ids for training out.

Each stage is a module with a `main`: `download`, `split`, `tokenizer`, `preprocess`, `merge`. They
share files and nothing else, see docs/payloads.md, and never import `pipeline`.
"""
