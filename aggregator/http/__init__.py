"""The HTTP layer: everything that knows aiohttp."""
