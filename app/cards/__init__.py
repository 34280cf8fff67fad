"""Character cards (V2 and V3): personas as files that other programs read and write."""
