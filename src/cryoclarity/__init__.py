"""cryoclarity: from cryo-EM archives to clearer maps."""

__version__ = "0.1.0"
