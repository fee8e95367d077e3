"""Access: who a request comes from, and what it may do. Nothing here knows HTTP."""
