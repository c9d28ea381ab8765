"""Faults of every kind on the real code, and a checker of what came of them.

recorder   requests to a Label Studio become the records that `demo.history` checks
driver     a schedule of events on the worker: labels, kills, lost answers, a second worker
schedules  random schedules from a seed; a failing one is shrunk and printed
proxy      stands before a Label Studio, records each request, and answers wrongly on demand
"""
