"""Compiled loops over bytes and ids. Call `corpus.jit.use` before importing one of these modules:
it says where the compiled code is kept."""
