"""Requests about subscriptions: what is asked, what is answered, and who asks over HTTP."""
