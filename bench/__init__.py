"""The benchmark: lagless and its peers, side by side in one run. `python -m bench` from the repository's root."""
