"""What a plan claims beside what its study computes, and what a run was to give beside what it
gave: docs/ledger.md. Standard library and PyYAML only, so that every job can make its checks."""
