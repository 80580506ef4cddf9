"""Sessions: a model, loaded and ready to run, whichever engine runs it."""
