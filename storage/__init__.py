"""Durable, deduplicated event logs behind one interface: `EventStore`.

`open_store` is not here but in `storage.backends`, so that importing the interface does not
import the drivers.
"""
