"""What it costs, measured beside what the parts that it is made of can do alone."""
