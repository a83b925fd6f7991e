"""Which entries are taken, and on which side of the split they stand."""
