"""A Python executor: the process in which a worker runs Python tasks.

The worker starts it as ``python -m taskloom.executor`` and speaks to it through a socket (`link`).
`loop` takes tasks, `values` keeps what they return, `failure` tells of what they raise, `output`
forwards what they print. User code runs here and nowhere else; the worker's heartbeats do not
depend on this process.
"""
