"""What processes of this user compute once: compiled programs, traced programs and results of checks."""
