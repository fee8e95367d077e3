"""`python -m aggregator logs report`: what the JSON logs say of throughput, latency and trouble."""
