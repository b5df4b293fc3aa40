"""Sessions of a run: training, evaluation, resumption and reproduction."""
