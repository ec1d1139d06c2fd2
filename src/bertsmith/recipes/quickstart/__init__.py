"""The whole life of a small BERT within minutes and without a download: documentation in, tested classifiers out."""

from bertsmith.recipes.quickstart.results import QuickstartReport
from bertsmith.recipes.quickstart.run import QuickstartSettings, quickstart

__all__ = ["QuickstartReport", "QuickstartSettings", "quickstart"]
