"""Phase 3 of a study: benchmark generation, scoring, held-out loss, comparison of the arms.

Programs: `python -m evaluation.benchmarks`, `python -m evaluation.evaluate` and
`python -m evaluation.analyze`, each with `--config <job>.yaml`; docs/payloads.md has the contract.
"""
