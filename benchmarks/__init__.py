"""fastconv side by side with what a user would pick instead: `fastconv bench`, or `python -m benchmarks`.

A suite is a list of cases; a peer prepares a case's calls in its own library; every peer runs in a process of its own
and they take turns. An answer is checked against float64 before it is timed.
"""
