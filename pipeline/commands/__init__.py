"""Commands in modules of their own; `pipeline.cli` adds them. Each imports click alone at once."""
