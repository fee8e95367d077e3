"""Work beside a test that ends with it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

StartSoon = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]
"""Runs a coroutine beside the test, and gives the task back."""
