"""Publishers: clients of the aggregator like any other."""
