"""Selection: documents, search, saved answers, the stage and its rule."""
