"""What the entry points share: building from configuration, run folders, tracking, figures."""
