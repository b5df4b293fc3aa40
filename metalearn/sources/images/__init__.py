"""Sources of tasks with images."""

from metalearn.sources.images.few_shot import FewShot

__all__ = ["FewShot"]
