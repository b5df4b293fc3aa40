"""How programs run: over inner steps, and over tasks."""
