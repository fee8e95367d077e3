"""What `GET /metrics` tells: counts kept while events pass, and the state at the time it is asked.

Everything is counted on the event loop's thread, so the counts are plain numbers without locks,
made into Prometheus' families when they are asked for; see
`docs/understand/decisions/0017-metrics-are-plain-numbers.md`.
"""
