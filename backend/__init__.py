"""The Label Studio side: reads labels, runs rounds, orders the task queue."""
