"""What a node tells of itself: metrics and log lines, both made from records."""
