"""Live reading: who waits for a topic learns when something was committed to it."""
