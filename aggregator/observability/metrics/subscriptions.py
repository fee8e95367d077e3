"""Metrics of subscriptions: their state in the log, and what this process did for consumers."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from aggregator.observability.metrics.subscription_look import SubscriptionSeen, SubscriptionsSeen
from aggregator.subscriptions.counters import SETTLE_REFUSALS, SubscriptionCounters

_GAUGES: dict[str, tuple[str, Callable[[SubscriptionSeen], float]]] = {
    "lag_events": ("Events that are leased or waiting; at most.", lambda seen: seen.lag_events),
    "lag_seconds": ("Time since the oldest of these was stored.", lambda seen: seen.lag_s),
    "leased": ("Events in leases that have not run out.", lambda seen: seen.leased),
    "waiting": ("Events that wait for a lease; at most.", lambda seen: seen.waiting),
    "acknowledged": ("Events acknowledged since its start.", lambda seen: seen.acknowledged),
    "dead": ("Dead letters.", lambda seen: seen.dead),
    "redelivered": ("Deliveries after the first since its start.", lambda seen: seen.redelivered),
    "paused": ("1 if it is paused, else 0.", lambda seen: seen.paused),
}


def subscription_families(seen: SubscriptionsSeen | None) -> Iterator[Metric]:
    """Return the subscriptions as the log has them; without samples if they are unknown (None)."""
    for name, (documentation, value) in _GAUGES.items():
        family = GaugeMetricFamily(
            f"aggregator_subscription_{name}", documentation, labels=["subscription"]
        )
        for each in seen.subscriptions if seen else ():
            family.add_metric([each.name], value(each))
        yield family
    yield GaugeMetricFamily(
        "aggregator_subscriptions_left_out",
        "1 if there are more subscriptions than have metrics here, else 0.",
        None if seen is None else seen.left_out,
    )


def consumer_families(counters: SubscriptionCounters) -> Iterator[Metric]:
    """Return what this process did for consumers of subscriptions."""
    yield CounterMetricFamily(
        "aggregator_leases", "Leases that this process gave.", counters.leases
    )
    deliveries = CounterMetricFamily(
        "aggregator_deliveries",
        "Events that this process handed out, by whether the number of the delivery is 1.",
        labels=["delivery"],
    )
    deliveries.add_metric(["first"], counters.events_leased - counters.redelivered)
    deliveries.add_metric(["again"], counters.redelivered)
    yield deliveries
    yield CounterMetricFamily(
        "aggregator_unwritten_leases",
        "Leases that were released since their answer could not be read or written.",
        counters.unwritten,
    )
    settles = CounterMetricFamily(
        "aggregator_settles", "Settles that this process answered, by outcome.", labels=["outcome"]
    )
    settles.add_metric(["done"], counters.settles_done)
    for reason in SETTLE_REFUSALS:
        settles.add_metric([reason], counters.settles_refused[reason])
    yield settles
    settled = CounterMetricFamily(
        "aggregator_settled_events",
        "Events that settles answered by this process settled or handed back, by what became of "
        "them.",
        labels=["outcome"],
    )
    for outcome in ("acknowledged", "retried", "dead", "released"):
        settled.add_metric([outcome], getattr(counters, outcome))
    yield settled
    yield GaugeMetricFamily(
        "aggregator_lease_waits", "Leases that are held until there is something.", counters.waits
    )
    yield GaugeMetricFamily(
        "aggregator_commands_waiting",
        "Commands of subscriptions that wait for their transaction, or are under way.",
        counters.commands_waiting,
    )
    flushes = CounterMetricFamily(
        "aggregator_command_flushes",
        "Transactions of commands of subscriptions, by outcome.",
        labels=["outcome"],
    )
    flushes.add_metric(["committed"], counters.flushes)
    flushes.add_metric(["failed"], counters.flushes_failed)
    yield flushes
