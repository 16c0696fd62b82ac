"""Tasks out of a data file alone: selection among texts, classification of texts."""
