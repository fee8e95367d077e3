"""The commands that look at subscriptions, and change them."""
