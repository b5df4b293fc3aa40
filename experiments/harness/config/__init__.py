"""What a configuration may say, checked and built."""
